//! Checks of the files and sockets that a configuration names, without using them.

use std::{
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use nix::unistd::{Uid, User};
use serde_json::{Value, json};
use stationmaster_system::files::{input, open_to_append};

use crate::{
    authz::file,
    config::{Config, MirrorConfig, PinSetting, TokenConfig},
    server::{ServerError, socket, state_directory, tls},
    trust,
    trust::{FileError, TrustError, TrustMode},
};

/// What only the running service can check.
pub(super) const NOT_CHECKED: [&str; 4] = ["the token and its keys", "the PIN", "the engine", "the chain of the audit log"];

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckState {
    /// Usable.
    Usable,
    /// It does not exist, and need not exist yet.
    NotYet,
    /// The service cannot use it.
    Wrong,
}

impl CheckState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Usable => "ok",
            Self::NotYet => "not yet",
            Self::Wrong => "wrong",
        }
    }
}

/// A checked item.
pub(super) struct Finding {
    pub what: &'static str,
    pub state: CheckState,
    pub note: String,
}

impl Finding {
    fn new(what: &'static str, state: CheckState, note: impl Into<String>) -> Self {
        Self { what, state, note: note.into() }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "what": self.what, "state": self.state.name(), "note": self.note })
    }
}

/// Returns the name of this process's user.
pub(super) fn current_user() -> String {
    user(rustix::process::geteuid().as_raw())
}

/// Returns a user's name and number.
fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        _ => format!("uid {uid}"),
    }
}

/// Performs all checks.
pub(super) fn all(config: &Config) -> Vec<Finding> {
    let mut all: Vec<_> = config.tokens.all().iter().flat_map(|token| [module(token), pin(token)]).collect();
    all.push(match state_directory::check_is_station(&config.state.directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Finding::new("State", CheckState::Wrong, format!("{}: {error}", config.state.directory.display()))
        }
        _ => directory("State", &config.state.directory),
    });
    if let Some(spool) = &config.state.spool {
        all.push(directory("Spool", spool));
    }
    all.extend(config.runs.directory.iter().map(|path| directory("Runs", path)));
    all.push(match &config.layouts.directory {
        Some(path) => layouts(path),
        None => engine(config),
    });
    all.push(access_file(config));
    all.push(trust_file(config));
    all.extend(config.audit.second.as_ref().map(second));
    all.extend(config.listen.unix.as_deref().map(|path| unix(path, config.listen.unix_group.as_deref())));
    all.extend(config.listen.tcp.as_ref().map(|tcp| match tls::Identity::load(tcp, None) {
        Ok(_) => {
            let key = tcp.key.uri().map(|uri| format!(", with the key {uri}, which is not looked for")).unwrap_or_default();
            Finding::new("TLS", CheckState::Usable, format!("{}, {}{key}", tcp.cert.display(), tcp.client_ca.display()))
        }
        Err(ServerError::Tls(fault)) => Finding::new("TLS", CheckState::Wrong, fault.in_full()),
        Err(error) => Finding::new("TLS", CheckState::Wrong, error.to_string()),
    }));
    all
}

fn module(token: &TokenConfig) -> Finding {
    let path = &token.module;
    let wrong = |note: String| Finding::new("Module", CheckState::Wrong, note);
    let first_bytes = || -> io::Result<Vec<u8>> {
        let mut begins = Vec::new();
        input::open_regular(path)?.take(4).read_to_end(&mut begins)?;
        Ok(begins)
    };
    match first_bytes() {
        Err(error) => wrong(failed(path, &error)),
        Ok(begins) if begins != b"\x7fELF" => wrong(format!("{} is not a shared library", path.display())),
        // Known of this library: the probe at the service's start would fail.
        Ok(_)
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libsofthsm2"))
                && !token.allow_raw_unwrap =>
        {
            let note = "SoftHSM does not support RSA-OAEP with SHA-512: the service refuses to start without `allow_raw_unwrap = true` in [token]";
            wrong(note.to_owned())
        }
        Ok(_) => Finding::new("Module", CheckState::Usable, path.display().to_string()),
    }
}

fn pin(token: &TokenConfig) -> Finding {
    let finding = |state, note: String| Finding::new("PIN", state, note);
    match token.pin() {
        PinSetting::File(path) => match fs::metadata(&path) {
            Err(error) => finding(CheckState::Wrong, failed(&path, &error)),
            Ok(found) if !found.is_file() => finding(CheckState::Wrong, format!("{} is not a file", path.display())),
            Ok(found) if found.mode() & 0o077 != 0 => {
                let shown = path.display();
                finding(
                    CheckState::Wrong,
                    format!("{shown} is accessible to others (mode {:04o}): chmod 600 {shown}", found.mode() & 0o7777),
                )
            }
            Ok(found) => match input::open_regular(&path) {
                Err(error) => finding(CheckState::Wrong, failed(&path, &error)),
                Ok(_) => finding(CheckState::Usable, format!("{}, which belongs to {}", path.display(), user(found.uid()))),
            },
        },
        PinSetting::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) if Path::new(&directory).join(&name).exists() => {
                finding(CheckState::Usable, format!("the credential {name:?}"))
            }
            Some(_) => finding(CheckState::Wrong, format!("$CREDENTIALS_DIRECTORY contains no {name:?}")),
            None => finding(CheckState::NotYet, format!("the credential {name:?}, which systemd provides only to the service")),
        },
        PinSetting::Env(name) => match std::env::var_os(&name) {
            Some(_) => finding(CheckState::Usable, format!("${name}")),
            None => finding(CheckState::NotYet, format!("${name} is not set here")),
        },
        PinSetting::Prompt => finding(
            CheckState::NotYet,
            "none is named: it would be read from the terminal, which a service does not have".to_owned(),
        ),
    }
}

fn directory(what: &'static str, path: &Path) -> Finding {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::new(what, CheckState::NotYet, format!("{} is created when the service starts", path.display()))
        }
        Err(error) => Finding::new(what, CheckState::Wrong, failed(path, &error)),
        Ok(found) if !found.is_dir() => Finding::new(what, CheckState::Wrong, format!("{} is not a directory", path.display())),
        Ok(found) if found.mode() & 0o002 != 0 => {
            let shown = path.display();
            Finding::new(
                what,
                CheckState::Wrong,
                format!("{shown} can be written by all users (mode {:04o}): chmod 700 {shown}", found.mode() & 0o7777),
            )
        }
        Ok(found) => {
            Finding::new(what, CheckState::Usable, format!("{}, which belongs to {}", path.display(), user(found.uid())))
        }
    }
}

/// The service creates every directory except this one.
fn layouts(path: &Path) -> Finding {
    match stationmaster_image::store::layouts::directory_at(path) {
        Ok(_) => directory("Layouts", path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::new("Layouts", CheckState::NotYet, format!("{error}; NOT_SERVING until it exists"))
        }
        Err(error) => Finding::new("Layouts", CheckState::Wrong, failed(path, &error)),
    }
}

fn engine(config: &Config) -> Finding {
    // The configuration's check ensures the prefix.
    let path = Path::new(config.engine.socket.strip_prefix("unix://").unwrap_or(&config.engine.socket));
    match fs::metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            Finding::new("Engine", CheckState::Usable, format!("{}{}", path.display(), group_of(&found)))
        }
        Ok(_) => Finding::new("Engine", CheckState::Wrong, format!("{} is not a socket", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::new(
            "Engine",
            CheckState::NotYet,
            format!("{} does not exist: NOT_SERVING until the engine runs", path.display()),
        ),
        Err(error) => Finding::new("Engine", CheckState::Wrong, failed(path, &error)),
    }
}

fn group_of(found: &Metadata) -> String {
    let gid = found.gid();
    match nix::unistd::Group::from_gid(gid.into()) {
        Ok(Some(group)) => format!(", for the group {}", group.name),
        _ => format!(", for the group {gid}"),
    }
}

fn access_file(config: &Config) -> Finding {
    let path = config.access_file();
    match file::read(&path) {
        Ok(_) => Finding::new("Access", CheckState::Usable, path.display().to_string()),
        Err(error) if !path.exists() => Finding::new("Access", CheckState::NotYet, format!("{error} ({})", error.hint())),
        Err(error) => Finding::new("Access", CheckState::Wrong, format!("{error} ({})", error.hint())),
    }
}

/// Checks the trust file, and reports the mode.
fn trust_file(config: &Config) -> Finding {
    let mode = config.trust.mode.name();
    let (Some(file), true) = (&config.trust.file, config.trust.mode != TrustMode::Embedded) else {
        return Finding::new("Trust", CheckState::Usable, format!("{mode}: ANYONE can create a train that this station runs"));
    };
    match trust::file::read(file) {
        Ok(_) => Finding::new("Trust", CheckState::Usable, format!("{mode}, {}", file.display())),
        Err(TrustError::File(FileError::Missing(_))) if config.trust.mode == TrustMode::FirstUse => {
            Finding::new("Trust", CheckState::NotYet, format!("{mode}, {} does not exist yet", file.display()))
        }
        Err(error @ TrustError::File(FileError::Missing(_))) => {
            Finding::new("Trust", CheckState::NotYet, format!("{mode}; NO TRAIN IS OPENED YET: {error}"))
        }
        Err(error) => Finding::new("Trust", CheckState::Wrong, format!("{mode}; NO TRAIN IS OPENED: {error}")),
    }
}

fn second(second: &MirrorConfig) -> Finding {
    let what = "Second sink";
    let of_directory = |path: &Path| match fs::metadata(path) {
        Ok(found) if found.is_dir() => Finding::new(what, CheckState::Usable, path.display().to_string()),
        Ok(_) => Finding::new(what, CheckState::Wrong, format!("{} is not a directory", path.display())),
        Err(error) => Finding::new(what, CheckState::Wrong, failed(path, &error)),
    };
    match (&second.file, &second.syslog, &second.directory) {
        (Some(file), _, _) => match open_to_append(file, false) {
            Ok(_) => Finding::new(what, CheckState::Usable, file.display().to_string()),
            // The service creates it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => of_directory(file.parent().unwrap_or(file)),
            Err(error) => Finding::new(what, CheckState::Wrong, format!("{}: {error}", file.display())),
        },
        (_, Some(path), _) => match fs::metadata(path) {
            Ok(found) if found.file_type().is_socket() => Finding::new(what, CheckState::Usable, path.display().to_string()),
            Ok(_) => Finding::new(what, CheckState::Wrong, format!("{} is not a socket", path.display())),
            Err(error) => Finding::new(what, CheckState::Wrong, failed(path, &error)),
        },
        (_, _, Some(path)) => of_directory(path),
        // The configuration's check has made sure of one.
        (None, None, None) => Finding::new(what, CheckState::NotYet, "none"),
    }
}

fn unix(path: &Path, group: Option<&str>) -> Finding {
    let what = "Unix socket";
    if let Err(error) = socket::can_be_at(path) {
        return Finding::new(what, CheckState::Wrong, format!("{}: {error}", path.display()));
    }
    if let Some(Err(error)) = group.map(socket::group_id) {
        return Finding::new(what, CheckState::Wrong, format!("[listen] unix_group: {error}"));
    }
    let parent = path.parent().unwrap_or(path);
    match fs::metadata(parent) {
        Ok(found) if found.is_dir() => Finding::new(what, CheckState::Usable, path.display().to_string()),
        Ok(_) => Finding::new(what, CheckState::Wrong, format!("{} is not a directory", parent.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::new(
            what,
            CheckState::NotYet,
            format!("{} does not exist: RuntimeDirectory= of the unit creates it", parent.display()),
        ),
        Err(error) => Finding::new(what, CheckState::Wrong, failed(parent, &error)),
    }
}

/// Formats an error with its remedy.
fn failed(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{shown} does not exist"),
        io::ErrorKind::PermissionDenied => {
            let owner = fs::symlink_metadata(path).ok().map(|found| format!(", it belongs to {}", user(found.uid())));
            format!("{shown} cannot be read by {}{}", current_user(), owner.unwrap_or_default())
        }
        _ => format!("{shown}: {error}"),
    }
}
