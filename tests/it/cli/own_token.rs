//! A real configuration step by step: the shipped example, a token, two keys, the service.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{last_line, output, said};
use crate::support::{Engine, wait_for};

/// A process that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The shipped example with this test's places in it.
fn adapted(directory: &Path) -> String {
    let mut example = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/stationmaster.toml")).unwrap();
    let at = |name: &str| directory.join(name).display().to_string();
    let module = stationmaster_keystore::softhsm::find_module().expect("SoftHSM's module: run `make test`, which installs it");
    let engine = Engine::host().unwrap_or_else(|| "unix:///var/run/docker.sock".into());
    for (before, after) in [
        ("/usr/lib/softhsm/libsofthsm2.so", module.display().to_string()),
        (r#"pin_file = "/etc/stationmaster/pin""#, format!("pin_file = {:?}", at("pin"))),
        ("allow_raw_unwrap = false", "allow_raw_unwrap = true".into()),
        (r##"#= socket = "unix:///var/run/docker.sock""##, format!("socket = {engine:?}")),
        (r#"directory = "/var/lib/stationmaster""#, format!("directory = {:?}", at("state"))),
        (r#"unix = "/run/stationmaster/api.sock""#, format!("unix = {:?}", at("api.sock"))),
    ] {
        assert_eq!(example.matches(before).count(), 1, "{before:?} in the example");
        example = example.replace(before, &after);
    }
    example
}

#[test]
fn the_shipped_example_becomes_a_station() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let conf = stationmaster_keystore::softhsm::write_conf(&directory.path().join("softhsm")).unwrap();
    let config = at("stationmaster.toml");
    fs::write(&config, adapted(directory.path())).unwrap();
    for (name, pin) in [("pin", "a user's PIN\n"), ("so-pin", "the SO's PIN\n")] {
        fs::write(at(name), pin).unwrap();
        fs::set_permissions(at(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let program = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stationmaster"));
        command.env("SOFTHSM2_CONF", &conf).env("STATIONMASTER_ADDRESS", format!("unix://{}", at("api.sock")));
        command.args(arguments).stdin(Stdio::null());
        command
    };
    let json = |arguments: &[&str]| last_line(&output(program(arguments).args(["--output", "json"])));

    assert_eq!(json(&["config", "check", "--config", &config])["station"], "station-1");
    // Nothing is there yet: it is said, and nothing hangs at a prompt.
    let early = program(&["serve", "--config", &config]).output().unwrap();
    assert!(!early.status.success() && String::from_utf8_lossy(&early.stderr).contains("error: "), "{}", said(&early));
    let token = json(&["token", "init", "--config", &config, "--so-pin-file", &at("so-pin")]);
    assert_eq!(token["label"], "pht");
    let again = program(&["token", "init", "--config", &config, "--so-pin-file", &at("so-pin")]).output().unwrap();
    assert_eq!(again.status.code(), Some(5), "a second token of the same label: {}", said(&again));
    let train = json(&["key", "generate", "station-1", "--purpose", "train", "--bits", "2048", "--config", &config]);
    assert_eq!((&train["label"], &train["never_extractable"]), (&"station-1".into(), &true.into()));
    let general = json(&["key", "generate", "station-1-general", "--purpose", "general", "--bits", "2048", "--config", &config]);
    assert_eq!(general["purpose"], "general");
    let audit = json(&["key", "generate", "audit", "--purpose", "audit", "--bits", "2048", "--config", &config]);
    assert_eq!((&audit["purpose"], &audit["never_extractable"]), (&"audit".into(), &true.into()));
    let again = program(&["key", "generate", "station-1", "--purpose", "train", "--config", &config]).output().unwrap();
    assert_eq!(again.status.code(), Some(5), "a key is replaced: {}", said(&again));

    let mut serving = Running(program(&["serve", "--config", &config]).stderr(Stdio::null()).spawn().unwrap());
    // No access is granted yet: that is reported, and a grant applies while the service runs.
    let me = format!("unix:uid={}", rustix::process::geteuid().as_raw());
    assert_eq!(program(&["access", "check", &me, "ListKeys", "--config", &config]).output().unwrap().status.code(), Some(3));
    wait_for("the socket", || Path::new(&at("api.sock")).exists().then_some(()));
    assert_eq!(program(&["key", "list"]).output().unwrap().status.code(), Some(7), "somebody without a grant is served");
    json(&["access", "allow", &me, "--role", "officer", "--config", &config]);
    assert_eq!(json(&["access", "check", &me, "ListKeys", "--config", &config])["allowed"], true);
    // Keys can be used; trains wait until their keys are trusted.
    wait_for("the keys", || {
        assert!(serving.0.try_wait().unwrap().is_none(), "it ended");
        program(&["health", "--service", "stationmaster.v1.KeyService"]).output().unwrap().status.success().then_some(())
    });
    assert!(!program(&["health"]).output().unwrap().status.success(), "it serves trains without a trust file");
    fs::write(at("next.pem"), general["public_key_pem"].as_str().unwrap()).unwrap();
    let trusted = json(&["trust", "add", "station", "station-2", "--key", &at("next.pem"), "--config", &config]);
    assert_eq!(trusted["added"][0]["fingerprint"], general["fingerprint"]);
    wait_for("the service", || program(&["health"]).output().unwrap().status.success().then_some(()));
    let exported = output(&mut program(&["key", "export", "--format", "hex-pem", "station-1"]));
    assert_eq!(exported.trim_end(), train["public_key_hex_pem"].as_str().unwrap());
    let zeros = "00".repeat(32);
    let signed = json(&["sign", "--key", "station-1-general", "--scheme", "rsa-pss-sha256", "--digest", &zeros]);
    assert_eq!(signed["fingerprint"], general["fingerprint"]);

    let pid = rustix::process::Pid::from_child(&serving.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(wait_for("its end", || serving.0.try_wait().unwrap()).success());
    assert_eq!(program(&["health"]).output().unwrap().status.code(), Some(6));

    // What was done can be proved with the public key alone, the administrator's part of it too.
    fs::write(at("audit.pem"), audit["public_key_pem"].as_str().unwrap()).unwrap();
    let verified = json(&["audit", "verify", &at("state/audit/service"), "--key", &at("audit.pem")]);
    assert!(verified["holds"] == true && verified["checkpoints"].as_u64() >= Some(1), "{verified}");
    let shown = json(&["audit", "show", "--log", "officer", "--config", &config]);
    let events: Vec<_> = shown["records"].as_array().unwrap().iter().map(|record| record["event"].as_str().unwrap()).collect();
    for event in ["token-initialised", "key-generated", "access-changed", "trust-changed"] {
        assert!(events.contains(&event), "no {event} in {events:?}");
    }
}

#[test]
fn a_wrong_pin_is_tried_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let conf = stationmaster_keystore::softhsm::write_conf(&directory.path().join("softhsm")).unwrap();
    let config = at("stationmaster.toml");
    fs::write(&config, adapted(directory.path())).unwrap();
    let write = |name: &str, pin: &str| {
        fs::write(at(name), pin).unwrap();
        fs::set_permissions(at(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("pin", "right PIN");
    write("so-pin", "officer");
    let program = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stationmaster"));
        command.env("SOFTHSM2_CONF", &conf).args(arguments).args(["--config", &config, "--output", "json"]).stdin(Stdio::null());
        command.output().unwrap()
    };
    let so_pin = at("so-pin");
    assert!(program(&["token", "init", "--so-pin-file", &so_pin]).status.success());
    write("pin", "wrong PIN");
    for attempt in 1..=5 {
        let refused = program(&["serve"]);
        assert_eq!(refused.status.code(), Some(7), "attempt {attempt}: {}", said(&refused));
    }
    // SoftHSM locks nothing; the latch is what says that the wrong PIN came to it once.
    let latch = fs::read_to_string(directory.path().join("state/pin-latch")).expect("a latch");
    assert_eq!(latch.lines().filter(|line| !line.starts_with('#')).count(), 1, "{latch}");
    assert!(!latch.contains("wrong PIN"));
    write("pin", "right PIN");
    let listed = program(&["key", "list"]);
    assert!(listed.status.success(), "a right PIN is not taken any more: {}", said(&listed));
}
