//! `config check` looks at what a configuration names, and says what it did not look at.

use std::{fs, os::unix::fs::PermissionsExt};

use super::{last_line, said};
use crate::support::{PROGRAM, set};

/// A configuration that names only what is there, in `directory`.
fn usable(directory: &std::path::Path) -> toml::Table {
    let at = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    fs::write(at("module.so"), "\x7fELF and more").unwrap();
    fs::write(at("pin"), "1234\n").unwrap();
    fs::set_permissions(at("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(at("state")).unwrap();
    let mut config = toml::toml! {
        station = "hospital-1"
        [token]
        label = "pht"
        [trust]
        mode = "pinned"
    };
    set(&mut config, "token", "module", at("module.so"));
    set(&mut config, "token", "pin_file", at("pin"));
    set(&mut config, "state", "directory", at("state"));
    set(&mut config, "engine", "socket", format!("unix://{}", at("no-engine.sock")));
    set(&mut config, "listen", "unix", at("api.sock"));
    config
}

#[test]
fn what_is_named_and_unusable_is_reported_and_what_was_not_checked_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stationmaster.toml");
    let usable = usable(directory.path());
    let check = |change: &dyn Fn(&mut toml::Table)| {
        let mut config = usable.clone();
        change(&mut config);
        fs::write(&file, config.to_string()).unwrap();
        let done = std::process::Command::new(PROGRAM)
            .args(["config", "check", "--output", "json", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        (done.status.code(), last_line(std::str::from_utf8(&done.stdout).unwrap()), said(&done))
    };

    // Nothing is wrong: what is not there need not be yet.
    let (code, answer, text) = check(&|_| {});
    assert_eq!(code, Some(0), "{text}");
    let of = |what: &str| {
        let all = answer["looked_at"].as_array().unwrap();
        all.iter().find(|one| one["what"] == what).unwrap_or_else(|| panic!("no {what}: {answer}"))["state"].as_str().unwrap()
    };
    for (what, state) in
        [("Module", "ok"), ("PIN", "ok"), ("State", "ok"), ("Engine", "not yet"), ("Access", "not yet"), ("Trust", "not yet")]
    {
        assert_eq!(of(what), state, "{what}: {answer}");
    }
    assert!(answer["not_looked_at"].to_string().contains("token"), "{answer}");
    assert!(!text.contains("can be used"), "{text}");

    // One after the other is wrong, and named.
    fs::write(directory.path().join("text.so"), "no library").unwrap();
    fs::write(directory.path().join("open-pin"), "1234").unwrap();
    fs::set_permissions(directory.path().join("open-pin"), fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), directory.path().join("mirror")).unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let cases: Vec<(&str, &str, &str, toml::Value)> = vec![
        ("Module", "token", "module", "/nowhere/module.so".into()),
        ("Module", "token", "module", at("text.so").into()),
        ("PIN", "token", "pin_file", "/nowhere/pin".into()),
        ("PIN", "token", "pin_file", at("open-pin").into()),
        ("State", "state", "directory", at("pin").into()),
        ("Unix socket", "listen", "unix", format!("/run/{}", "long/".repeat(30)).into()),
        // The start could not bind either.
        ("Unix socket", "listen", "unix", at("state").into()),
        ("Unix socket", "listen", "unix", at("pin").into()),
        ("Layouts", "layouts", "directory", at("pin").into()),
        ("Unix socket", "listen", "unix_group", "no-such-group-here".into()),
        ("Second sink", "audit", "second", toml::Table::from_iter([("syslog".to_owned(), "/nowhere/log".into())]).into()),
        // The service appends to no link either.
        ("Second sink", "audit", "second", toml::Table::from_iter([("file".to_owned(), at("mirror").into())]).into()),
        (
            "TLS",
            "listen",
            "tcp",
            toml::toml! { address = "127.0.0.1:0"
            cert = "/nowhere/c"
            key = "/nowhere/k"
            client_ca = "/nowhere/a" }
            .into(),
        ),
    ];
    for (what, section, key, value) in cases {
        let (code, answer, text) = check(&|config| set(config, section, key, value.clone()));
        assert_eq!(code, Some(2), "{section}.{key}: {text}");
        let named = &answer["error"]["metadata"][what];
        assert!(named.is_string(), "{section}.{key}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(named.as_str().unwrap()), "{answer}");
    }

    // The one directory that the service does not make.
    let (code, answer, text) = check(&|config| set(config, "layouts", "directory", at("no-layouts")));
    assert_eq!(code, Some(0), "{text}");
    let looked = answer["looked_at"].as_array().unwrap().iter().find(|one| one["what"] == "Layouts").unwrap();
    assert!(looked["state"] == "not yet" && looked["note"].as_str().unwrap().contains("NOT_SERVING until it exists"), "{looked}");
    assert!(!looked["note"].as_str().unwrap().contains("created when the service starts"), "{looked}");

    // The one library of which it is known beforehand.
    if let Some(softhsm) = stationmaster_keystore::softhsm::find_module() {
        let (code, answer, text) = check(&|config| set(config, "token", "module", softhsm.to_str().unwrap()));
        assert_eq!(code, Some(2), "{text}");
        assert!(answer["error"]["metadata"]["Module"].as_str().unwrap().contains("allow_raw_unwrap"), "{answer}");
    }
}
