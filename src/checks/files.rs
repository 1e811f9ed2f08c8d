//! Checks of the files and sockets that a configuration names, without using them: those of `config check`, and part of those of `doctor`.

use std::{
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use nix::unistd::{Uid, User};
use stationmaster_system::files::{input, open_to_append};

use super::{CheckNode, CheckState, certificate};
use crate::{
    authz::file,
    config::{Config, MirrorConfig, PinSetting, TokenConfig},
    server::{socket, state_directory},
    trust,
    trust::{FileError, TrustError, TrustMode},
};

/// Returns the name of this process's user.
pub fn current_user() -> String {
    user(rustix::process::geteuid().as_raw())
}

/// Returns a user's name and number.
fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        _ => format!("uid {uid}"),
    }
}

/// Performs the checks that open no token, call no engine and use no key.
#[must_use]
pub fn all(config: &Config) -> Vec<CheckNode> {
    let mut all: Vec<_> = config.tokens.all().iter().flat_map(|token| [module(token), pin(token)]).collect();
    all.push(state(config));
    all.extend(other_directories(config));
    all.push(images(config));
    all.push(access_file(config));
    all.push(trust_file(config));
    all.extend(config.audit.second.as_ref().map(second));
    all.extend(listeners(config));
    all
}

/// Checks the state directory.
pub(crate) fn state(config: &Config) -> CheckNode {
    match state_directory::check_is_station(&config.state.directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            CheckNode::new("State", CheckState::Wrong, format!("{}: {error}", config.state.directory.display()))
        }
        _ => directory("State", &config.state.directory),
    }
}

/// Checks the directories of spools and of opened trains, if they are named.
pub(crate) fn other_directories(config: &Config) -> Vec<CheckNode> {
    let named = [("Spool", &config.state.spool), ("Runs", &config.runs.directory)];
    named.into_iter().filter_map(|(what, path)| Some(directory(what, path.as_deref()?))).collect()
}

/// Checks where the images are: the directory of layouts, or the engine's socket.
pub(crate) fn images(config: &Config) -> CheckNode {
    match &config.layouts.directory {
        Some(path) => layouts(path),
        None => engine(config),
    }
}

/// Checks what the service listens with.
pub(crate) fn listeners(config: &Config) -> Vec<CheckNode> {
    let unix = config.listen.unix.as_deref().map(|path| unix(path, config.listen.unix_group.as_deref()));
    unix.into_iter().chain(config.listen.tcp.as_ref().map(certificate::usable)).collect()
}

/// Checks whether the module is a library.
pub(crate) fn module(token: &TokenConfig) -> CheckNode {
    let path = &token.module;
    let wrong = |note: String| CheckNode::new("Module", CheckState::Wrong, note);
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
            wrong("SoftHSM does not support RSA-OAEP with SHA-512".to_owned())
                .with_remedy("the service refuses to start without `allow_raw_unwrap = true` in [token]")
        }
        Ok(_) => CheckNode::new("Module", CheckState::Usable, path.display().to_string()),
    }
}

/// Checks the source of the PIN, without reading it.
pub(crate) fn pin(token: &TokenConfig) -> CheckNode {
    let finding = |state, note: String| CheckNode::new("PIN", state, note);
    match token.pin() {
        PinSetting::File(path) => match fs::metadata(&path) {
            Err(error) => finding(CheckState::Wrong, failed(&path, &error)),
            Ok(found) if !found.is_file() => finding(CheckState::Wrong, format!("{} is not a file", path.display())),
            Ok(found) if found.mode() & 0o077 != 0 => {
                let shown = path.display();
                finding(CheckState::Wrong, format!("{shown} is accessible to others (mode {:04o})", found.mode() & 0o7777))
                    .with_remedy(format!("chmod 600 {shown}"))
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

fn directory(what: &'static str, path: &Path) -> CheckNode {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            CheckNode::new(what, CheckState::NotYet, format!("{} is created when the service starts", path.display()))
        }
        Err(error) => CheckNode::new(what, CheckState::Wrong, failed(path, &error)),
        Ok(found) if !found.is_dir() => CheckNode::new(what, CheckState::Wrong, format!("{} is not a directory", path.display())),
        Ok(found) if found.mode() & 0o002 != 0 => {
            let shown = path.display();
            CheckNode::new(
                what,
                CheckState::Wrong,
                format!("{shown} can be written by all users (mode {:04o})", found.mode() & 0o7777),
            )
            .with_remedy(format!("chmod 700 {shown}"))
        }
        Ok(found) => {
            CheckNode::new(what, CheckState::Usable, format!("{}, which belongs to {}", path.display(), user(found.uid())))
        }
    }
}

/// The service creates every directory except this one.
fn layouts(path: &Path) -> CheckNode {
    match stationmaster_image::store::layouts::directory_at(path) {
        Ok(_) => directory("Layouts", path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            CheckNode::new("Layouts", CheckState::NotYet, format!("{error}; NOT_SERVING until it exists"))
        }
        Err(error) => CheckNode::new("Layouts", CheckState::Wrong, failed(path, &error)),
    }
}

fn engine(config: &Config) -> CheckNode {
    // The configuration's check ensures the prefix.
    let path = Path::new(config.engine.socket.strip_prefix("unix://").unwrap_or(&config.engine.socket));
    match fs::metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            CheckNode::new("Engine", CheckState::Usable, format!("{}{}", path.display(), group_of(&found)))
        }
        Ok(_) => CheckNode::new("Engine", CheckState::Wrong, format!("{} is not a socket", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => CheckNode::new(
            "Engine",
            CheckState::NotYet,
            format!("{} does not exist: NOT_SERVING until the engine runs", path.display()),
        )
        .with_remedy("`systemctl start docker` starts the engine; [engine] socket names another one"),
        Err(error) => CheckNode::new("Engine", CheckState::Wrong, failed(path, &error)),
    }
}

fn group_of(found: &Metadata) -> String {
    let gid = found.gid();
    match nix::unistd::Group::from_gid(gid.into()) {
        Ok(Some(group)) => format!(", for the group {}", group.name),
        _ => format!(", for the group {gid}"),
    }
}

/// Checks the access file.
pub(crate) fn access_file(config: &Config) -> CheckNode {
    let path = config.access_file();
    match file::read(&path) {
        Ok(_) => CheckNode::new("Access", CheckState::Usable, path.display().to_string()),
        Err(error) => {
            let state = if path.exists() { CheckState::Wrong } else { CheckState::NotYet };
            CheckNode::new("Access", state, error.to_string()).with_remedy(error.hint())
        }
    }
}

/// Checks the trust file, and reports the mode.
pub(crate) fn trust_file(config: &Config) -> CheckNode {
    let mode = config.trust.mode.name();
    let (Some(file), true) = (&config.trust.file, config.trust.mode != TrustMode::Embedded) else {
        return CheckNode::new("Trust", CheckState::Warned, format!("{mode}: ANYONE can create a train that this station runs"))
            .with_remedy("`mode = \"pinned\"` in [trust], and `trust add creator ID --key FILE` for each creator");
    };
    match trust::file::read(file) {
        Ok(_) => CheckNode::new("Trust", CheckState::Usable, format!("{mode}, {}", file.display())),
        Err(TrustError::File(FileError::Missing(_))) if config.trust.mode == TrustMode::FirstUse => {
            CheckNode::new("Trust", CheckState::NotYet, format!("{mode}, {} does not exist yet", file.display()))
        }
        Err(error @ TrustError::File(FileError::Missing(_))) => {
            CheckNode::new("Trust", CheckState::NotYet, format!("{mode}; NO TRAIN IS OPENED YET: {error}"))
                .with_remedy(error.hint())
        }
        Err(error) => {
            let open = matches!(error, TrustError::File(FileError::Unprotected(_)));
            let remedy = if open { format!("chmod 644 {}: {}", file.display(), error.hint()) } else { error.hint().to_owned() };
            CheckNode::new("Trust", CheckState::Wrong, format!("{mode}; NO TRAIN IS OPENED: {error}")).with_remedy(remedy)
        }
    }
}

/// Checks the second sink of the audit.
pub(crate) fn second(second: &MirrorConfig) -> CheckNode {
    let what = "Second sink";
    let of_directory = |path: &Path| match fs::metadata(path) {
        Ok(found) if found.is_dir() => CheckNode::new(what, CheckState::Usable, path.display().to_string()),
        Ok(_) => CheckNode::new(what, CheckState::Wrong, format!("{} is not a directory", path.display())),
        Err(error) => CheckNode::new(what, CheckState::Wrong, failed(path, &error)),
    };
    match (&second.file, &second.syslog, &second.directory) {
        (Some(file), _, _) => match open_to_append(file, false) {
            Ok(_) => CheckNode::new(what, CheckState::Usable, file.display().to_string()),
            // The service creates it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => of_directory(file.parent().unwrap_or(file)),
            Err(error) => CheckNode::new(what, CheckState::Wrong, format!("{}: {error}", file.display())),
        },
        (_, Some(path), _) => match fs::metadata(path) {
            Ok(found) if found.file_type().is_socket() => CheckNode::new(what, CheckState::Usable, path.display().to_string()),
            Ok(_) => CheckNode::new(what, CheckState::Wrong, format!("{} is not a socket", path.display())),
            Err(error) => CheckNode::new(what, CheckState::Wrong, failed(path, &error)),
        },
        (_, _, Some(path)) => of_directory(path),
        // The configuration's check has made sure of one.
        (None, None, None) => CheckNode::new(what, CheckState::NotYet, "none"),
    }
}

/// Checks whether the Unix socket can be where it is configured.
pub(crate) fn unix(path: &Path, group: Option<&str>) -> CheckNode {
    let what = "Unix socket";
    if let Err(error) = socket::can_be_at(path) {
        return CheckNode::new(what, CheckState::Wrong, format!("{}: {error}", path.display()));
    }
    if let Some(Err(error)) = group.map(socket::group_id) {
        let remedy = format!("`groupadd {0}` makes it, and `usermod -aG {0} USER` adds a client", group.unwrap_or_default());
        return CheckNode::new(what, CheckState::Wrong, format!("[listen] unix_group: {error}")).with_remedy(remedy);
    }
    let parent = path.parent().unwrap_or(path);
    match fs::metadata(parent) {
        Ok(found) if found.is_dir() => CheckNode::new(what, CheckState::Usable, path.display().to_string()),
        Ok(_) => CheckNode::new(what, CheckState::Wrong, format!("{} is not a directory", parent.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => CheckNode::new(
            what,
            CheckState::NotYet,
            format!("{} does not exist: RuntimeDirectory= of the unit creates it", parent.display()),
        )
        .with_remedy(format!("`systemctl start stationmaster`; without the unit `install -d -m 0755 {}`", parent.display())),
        Err(error) => CheckNode::new(what, CheckState::Wrong, failed(parent, &error)),
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
