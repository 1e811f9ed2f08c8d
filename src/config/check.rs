//! Checks of the configuration that its types do not express: ranges, exclusive choices, references to other names.

use std::{collections::BTreeSet, path::Path};

use stationmaster_keystore::{TokenSelector, label};
use stationmaster_train::config::Id;

use super::{Config, TokenConfig};

/// A value that is not usable.
pub(super) struct Flaw {
    pub key: String,
    pub message: String,
    pub hint: String,
}

pub(super) fn flaw(key: &str, message: impl Into<String>, hint: impl Into<String>) -> Flaw {
    Flaw { key: key.into(), message: message.into(), hint: hint.into() }
}

pub(super) fn check(config: &Config) -> Result<(), Flaw> {
    names(config)?;
    pin(config)?;
    config.listen.tcp.as_ref().map_or(Ok(()), |tcp| tcp.key.check(config))?;
    paths(config)?;
    listeners(config)?;
    config.rules.check()?;
    config.four_eyes.check()?;
    numbers(config)
}

/// Checks a station's id: text that a route can name. train_lib reads text that Python's `int()` accepts as a number, and compares a
/// number with no text, so no route would ever name such a station.
pub(super) fn station_id(id: &str) -> Result<(), Flaw> {
    if id.is_empty() || id.len() > 256 || id.chars().any(char::is_control) {
        return Err(flaw("station", "must be 1 to 256 printable characters", "use the id that trains' routes name"));
    }
    if Id::from_text(id.to_owned()).as_text().is_none() {
        return Err(flaw(
            "station",
            format!("{id:?} is a number: train_lib converts it in every route, so that no route can name this station"),
            format!("choose an id that is not a number{}, here and at the registry", example(id)),
        ));
    }
    Ok(())
}

/// Returns an example id in place of a number, if one can be made of its digits.
fn example(number: &str) -> String {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let example = format!("station-{digits}");
    if digits.is_empty() || station_id(&example).is_err() { String::new() } else { format!(", such as `{example}`") }
}

fn names(config: &Config) -> Result<(), Flaw> {
    station_id(&config.station)?;
    tokens(config)?;
    let keys = &config.keys;
    if let Some(label) = keys.general.iter().find(|label| keys.train.contains(label)) {
        return Err(flaw(
            "keys.general",
            format!("{label:?} is also a train key"),
            "a key has exactly one purpose; generate a second key",
        ));
    }
    if let Some(label) = keys.raw_use.iter().find(|label| !keys.train.contains(label)) {
        return Err(flaw(
            "keys.raw_use",
            format!("{label:?} is not a train key"),
            "raw_use names labels that are also in `train`",
        ));
    }
    let audit = &config.audit.key;
    if audit.is_empty() || keys.train.contains(audit) || keys.general.contains(audit) {
        return Err(flaw(
            "audit.key",
            format!("{audit:?} is empty, or is also a train or general key"),
            "the key that signs checkpoints must not be used for anything else: `key generate audit --purpose audit`",
        ));
    }
    if let Some(second) = &config.audit.second {
        let named = [second.file.is_some(), second.syslog.is_some(), second.directory.is_some()];
        if named.iter().filter(|&&set| set).count() != 1 {
            return Err(flaw(
                "audit.second",
                "names none, or more than one, of file, syslog, directory",
                "keep exactly one of them",
            ));
        }
    }
    for (name, labels) in [("keys.train", &keys.train), ("keys.general", &keys.general)] {
        let mut sorted: Vec<_> = labels.iter().collect();
        sorted.sort();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) || labels.iter().any(String::is_empty) {
            return Err(flaw(name, "labels must be unique and not empty", "remove the second one"));
        }
    }
    Ok(())
}

fn tokens(config: &Config) -> Result<(), Flaw> {
    let mut seen = BTreeSet::new();
    for token in config.tokens.all() {
        if let Some(Err(error)) = token.selector().label.as_deref().map(label::check_token) {
            return Err(flaw("token.label", error.to_string(), "`token init --config FILE` creates a token with this label"));
        }
        selection(token)?;
        if token.module_init_args.as_ref().is_some_and(|text| text.is_empty() || text.contains('\0')) {
            return Err(flaw(
                "token.module_init_args",
                "is empty, or holds a zero byte",
                "leave it out, or take the text from the module's manual",
            ));
        }
        if !seen.insert((&token.module, token.selector().to_string())) {
            return Err(flaw(
                "token.label",
                format!("the token {:?} is configured twice", token.selector().name()),
                "name each token once; `serial` distinguishes tokens of one label",
            ));
        }
    }
    if config.tokens.all().iter().all(|token| token.standby) {
        return Err(flaw("token.standby", "every token is a standby", "leave `standby` out for the token to use first"));
    }
    Ok(())
}

/// Checks that a token is named, and in one way.
fn selection(token: &TokenConfig) -> Result<(), Flaw> {
    let named = token.label.is_some() || token.serial.is_some();
    let hint = "name the token by `label`, `serial`, or `uri = \"pkcs11:token=LABEL\"`";
    match &token.uri {
        Some(_) if named => Err(flaw("token.uri", "`label` or `serial` is there, too", hint)),
        Some(uri) if *uri != TokenSelector::of_uri(uri).uri() => {
            Err(flaw("token.uri", "names more than the token", "leave object, id, module-path and pin-source out of it"))
        }
        _ if token.selector() == TokenSelector::default() => Err(flaw("token", "names no token", hint)),
        _ => Ok(()),
    }
}

fn pin(config: &Config) -> Result<(), Flaw> {
    for token in config.tokens.all() {
        let given = [token.pin_file.is_some(), token.pin_credential.is_some(), token.pin_env.is_some()];
        if given.iter().filter(|&&set| set).count() > 1 {
            return Err(flaw("token", "more than one of pin_file, pin_credential, pin_env", "keep exactly one of them"));
        }
    }
    Ok(())
}

fn paths(config: &Config) -> Result<(), Flaw> {
    let tcp = config.listen.tcp.as_ref();
    let second = config.audit.second.as_ref();
    let paths = [
        ("state.directory", Some(config.state.directory.as_path())),
        ("state.spool", config.state.spool.as_deref()),
        ("runs.directory", config.runs.directory.as_deref()),
        ("layouts.directory", config.layouts.directory.as_deref()),
        ("trust.file", config.trust.file.as_deref()),
        ("access.file", config.access.file.as_deref()),
        ("audit.archive", config.audit.archive.as_deref()),
        ("audit.directory", config.audit.directory.as_deref()),
        ("audit.second.file", second.and_then(|second| second.file.as_deref())),
        ("audit.second.syslog", second.and_then(|second| second.syslog.as_deref())),
        ("audit.second.directory", second.and_then(|second| second.directory.as_deref())),
        ("listen.unix", config.listen.unix.as_deref()),
        ("listen.tcp.cert", tcp.map(|tcp| tcp.cert.as_path())),
        ("listen.tcp.key", tcp.and_then(|tcp| tcp.key.file())),
        ("listen.tcp.client_ca", tcp.map(|tcp| tcp.client_ca.as_path())),
        ("listen.tcp.client_crl", tcp.and_then(|tcp| tcp.client_crl.as_deref())),
    ];
    let of_tokens = config.tokens.all().iter().flat_map(|token| {
        let writable = token.writable.iter().map(|path| ("token.writable", Some(path.as_path())));
        [("token.module", Some(token.module.as_path())), ("token.pin_file", token.pin_file.as_deref())]
            .into_iter()
            .chain(writable)
    });
    for (key, path) in of_tokens.chain(paths) {
        if path.is_some_and(|path| !path.is_absolute()) {
            return Err(flaw(key, "must be an absolute path", "the service's working directory is not defined"));
        }
    }
    if config.runs.directory.as_ref().is_some_and(|directory| directory.to_str().is_none()) {
        return Err(flaw("runs.directory", "must be UTF-8", "this path is returned to clients"));
    }
    match config.engine.socket.strip_prefix("unix://") {
        Some(path) if Path::new(path).is_absolute() => Ok(()),
        _ => Err(flaw("engine.socket", "must be unix:///path", "only an engine on this machine is used")),
    }
}

fn listeners(config: &Config) -> Result<(), Flaw> {
    let listen = &config.listen;
    if listen.unix.is_none() && listen.tcp.is_none() {
        return Err(flaw("listen", "no address to listen on", "set `unix = \"/run/stationmaster/api.sock\"`, or [listen.tcp]"));
    }
    if listen.unix_mode & !0o770 != 0 || listen.unix_mode & 0o600 != 0o600 {
        return Err(flaw(
            "listen.unix_mode",
            format!("{:#o} is not between 0o600 and 0o770", listen.unix_mode),
            "0o660, with the clients' group in `unix_group`: every user who can connect may use the keys",
        ));
    }
    Ok(())
}

fn numbers(config: &Config) -> Result<(), Flaw> {
    let limits = &config.limits;
    let ranges = [
        ("engine.timeout_s", config.engine.timeout_s, 1, 86_400),
        ("limits.requests", limits.requests as u64, 1, 65_536),
        ("limits.request_bytes", limits.request_bytes as u64, 1024, 4 << 20),
        ("limits.principal_requests", limits.principal_requests as u64, 1, 65_536),
        ("limits.streams", u64::from(limits.streams), 1, 4096),
        ("limits.connections", limits.connections as u64, 1, 65_536),
        ("limits.handshakes", limits.handshakes as u64, 1, 65_536),
        ("limits.silence_s", limits.silence_s, 1, 3600),
        ("limits.stall_s", limits.stall_s, 1, 3600),
        ("limits.runs", limits.runs as u64, 1, 256),
        ("limits.uploads", limits.uploads as u64, 1, 256),
        ("limits.upload_mib", limits.upload_mib, 1, 1 << 30),
        ("limits.upload_min_kib_s", limits.upload_min_kib_s, 1, 1 << 20),
        ("limits.upload_s", limits.upload_s, 1, 86_400),
        ("limits.unary_timeout_s", limits.unary_timeout_s, 1, 86_400),
        ("limits.drain_s", limits.drain_s, 0, 86_400),
        ("audit.checkpoint_records", config.audit.checkpoint_records, 1, 1 << 30),
        ("audit.checkpoint_s", config.audit.checkpoint_s, 1, 86_400),
        ("audit.keep_segments", config.audit.keep_segments, crate::audit::archive::LEAST_KEPT, 1 << 30),
        ("audit.reserve_mib", config.audit.reserve_mib, 0, 1 << 20),
        ("audit.segment_mib", config.audit.segment_mib, 1, 4096),
        ("limits.spool_min_free_mib", limits.spool_min_free_mib, 0, 1 << 30),
        ("limits.image_memory_mib", limits.image_memory_mib, 16, 1 << 20),
    ];
    let of_tokens = config.tokens.all().iter().flat_map(|token| {
        [
            ("token.sessions", token.sessions as u64, 0, 256),
            ("token.queue", token.queue as u64, 1, 65_536),
            ("token.call_timeout_s", token.call_timeout_s, 1, 3600),
            ("token.open_timeout_s", token.open_timeout_s, 1, 3600),
            ("token.keep_alive_s", token.keep_alive_s, 0, 86_400),
            ("token.weight", u64::from(token.weight), 1, 1000),
        ]
    });
    for (key, value, least, most) in of_tokens.chain(ranges) {
        if !(least..=most).contains(&value) {
            return Err(flaw(key, format!("{value} is not between {least} and {most}"), "omit it for the default"));
        }
    }
    Ok(())
}
