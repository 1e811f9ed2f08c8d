//! Health names every component, says what is wrong with it, and waits for it; who has no grant hears no reasons.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use stationmaster_proto as pb;

use crate::{
    cli::{last_line, output, said},
    support::{Station, block_on, listen_on_tcp, set, wait_for},
};

/// Without an engine, and believing a trust file that is not there.
fn untrusting() -> (Station, tempfile::TempDir) {
    let layouts = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").layouts(layouts.path()).start();
    station.stop();
    station.configure(|config| drop(config.remove("trust")));
    station.spawn();
    wait_for("the keys to be served", || {
        let asked = station.socket_command(&["health", "--service", "stationmaster.v1.KeyService"]).output().unwrap();
        asked.status.success().then_some(())
    });
    (station, layouts)
}

#[test]
fn health_names_what_is_missing_and_waits_until_it_is_there() {
    let (station, _layouts) = untrusting();
    let health = |arguments: &[&str]| station.socket_command(&[&["health"], arguments].concat());
    let failed = health(&["--output", "json"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(6), "{}", said(&failed));
    let error = &last_line(&String::from_utf8(failed.stdout).unwrap())["error"];
    assert_eq!((&error["reason"], &error["code"]), (&"NOT_READY".into(), &"FAILED_PRECONDITION".into()), "{error}");
    let trust = error["metadata"]["trust"].as_str().unwrap();
    assert!(trust.contains("trust.toml") && trust.contains("trust add"), "{error}");
    assert!(error["message"].as_str().unwrap().contains(trust), "{error}");
    for component in ["token", "keys", "layouts", "access", "audit", "disk"] {
        assert_eq!(error["metadata"][component], "ready", "{error}");
    }
    assert!(station.log().contains("trust.toml"), "the log does not say it: {}", station.log());
    // What trains do not need is not said of the service that has nothing to do with them.
    let keys = output(&mut health(&["--service", "stationmaster.v1.KeyService"]));
    assert!(keys.starts_with("SERVING\n"), "{keys}");

    let mut waiting = health(&["--wait", "120", "--output", "json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert!(waiting.try_wait().unwrap().is_none(), "it does not wait");
    station.edit_trust(|_| {});
    let waited = waiting.wait_with_output().unwrap();
    assert!(waited.status.success(), "{}", said(&waited));
    let serving = last_line(&String::from_utf8(waited.stdout).unwrap());
    let components = serving["components"].as_array().unwrap();
    let names: Vec<_> = components.iter().map(|component| component["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["token", "keys", "layouts", "trust", "access", "audit", "disk"]);
    assert!(components.iter().all(|component| component["state"] == "ready" && component["reason"].is_null()), "{serving}");
    assert_eq!((&serving["status"], &serving["station"]), (&"SERVING".into(), &"a".into()));
}

#[test]
fn without_a_grant_health_is_one_word_and_no_reason() {
    let (station, _layouts) = untrusting();
    let file = station.state().join("access.toml");
    let granted = fs::read_to_string(&file).unwrap();
    fs::write(&file, granted.replace("\"GetStatus\"", "\"ListKeys\"").replace("\"ListKeys\", \"ListKeys\"", "\"ListKeys\""))
        .unwrap();
    let failed = station.socket_command(&["health", "--output", "json"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(6), "{}", said(&failed));
    let error = &last_line(&String::from_utf8(failed.stdout).unwrap())["error"];
    assert_eq!(error["message"], "the service is NOT_SERVING");
    assert_eq!(error["metadata"], serde_json::json!({}));
    assert!(error["hint"].as_str().unwrap().contains("GetStatus"), "{error}");
    let asked = block_on(pb::status_service_client::StatusServiceClient::new(station.unix()).get_status(pb::GetStatusRequest {}));
    assert_eq!(asked.unwrap_err().code(), tonic::Code::PermissionDenied);
}

#[test]
fn a_disk_without_the_configured_room_is_not_serving_and_says_which() {
    let (mut station, _layouts) = untrusting();
    station.stop();
    station.configure(|config| set(config, "limits", "spool_min_free_mib", 1 << 30));
    station.spawn();
    let health = || station.socket_command(&["health"]).output().unwrap();
    let failed = wait_for("the disk to be looked at", || {
        let asked = health();
        String::from_utf8_lossy(&asked.stderr).contains("disk: unusable").then_some(asked)
    });
    let text = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(6), "{text}");
    assert!(text.contains(&format!("less than {} MiB are free in {}", 1 << 30, station.state().display())), "{text}");
}

#[test]
fn a_train_key_that_cannot_open_trains_keeps_the_service_from_starting() {
    let layouts = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").layouts(layouts.path()).start();
    station.stop();
    // What the shipped configuration has, and says of it: "the service refuses to start on such a token".
    station.configure(|config| set(config, "token", "allow_raw_unwrap", false));
    station.spawn();
    assert_eq!(station.wait().code(), Some(2), "{}", station.log());
    let log = station.log();
    let said = log.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{log}"));
    for part in ["\"a\"", "RSA_OAEP_SHA512", "allow_raw_unwrap = true"] {
        assert!(said.contains(part), "{said}");
    }
}

/// The component of a name, as `health --output json` shows it, and whether the whole serves.
fn component(station: &Station, name: &str) -> (bool, serde_json::Value) {
    let client = &mut pb::status_service_client::StatusServiceClient::new(station.unix());
    let told = block_on(client.get_status(pb::GetStatusRequest {})).unwrap().into_inner();
    let found = told.components.iter().find(|component| component.name == name).unwrap_or_else(|| panic!("no {name}: {told:?}"));
    let state = found.state().as_str_name();
    (told.serving, serde_json::json!({ "state": state, "reason": found.reason, "services": found.services }))
}

#[test]
fn a_tls_file_that_cannot_be_used_any_more_is_named_by_health_while_what_was_loaded_stays() {
    let layouts = tempfile::tempdir().unwrap();
    let station = Station::with("a").layouts(layouts.path()).start_configured(listen_on_tcp);
    let fine = serde_json::json!({ "state": "COMPONENT_STATE_READY", "reason": "", "services": [] });
    assert_eq!(component(&station, "tls"), (true, fine.clone()));
    for (name, spoil, says) in [
        ("server.pem", &(|file: &Path| fs::remove_file(file).unwrap()) as &dyn Fn(&Path), "server.pem: there is no such file"),
        ("server.key", &|file| fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap(), "chmod 600"),
        ("ca.pem", &|file| fs::write(file, "no certificate").unwrap(), "ca.pem"),
    ] {
        let file = station.state().join("pki").join(name);
        let (content, mode) = (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().permissions());
        spoil(&file);
        let (serving, tls) = wait_for("health to know", || {
            let (serving, tls) = component(&station, "tls");
            (tls["state"] == "COMPONENT_STATE_UNUSABLE").then_some((serving, tls))
        });
        let reason = tls["reason"].as_str().unwrap();
        assert!(!serving && reason.contains(says) && reason.contains("stay in force"), "{name}: {tls}");
        assert_eq!(station.health().unwrap(), "NOT_SERVING");
        let failed = station.socket_command(&["health"]).output().unwrap();
        assert!(
            failed.status.code() == Some(6) && said(&failed).contains(&format!("tls: unusable: {reason}")),
            "{}",
            said(&failed)
        );
        // Calls over the Unix socket need none of it.
        output(&mut station.socket_command(&["health", "--service", "stationmaster.v1.TrainService"]));
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, mode).unwrap();
        wait_for("health to recover", || (component(&station, "tls") == (true, fine.clone())).then_some(()));
    }
}

#[test]
fn a_pin_that_cannot_be_read_any_more_is_a_warning_as_long_as_the_login_lasts() {
    let layouts = tempfile::tempdir().unwrap();
    let station = Station::with("a").layouts(layouts.path()).start_configured(|_| {});
    let file = station.state().join("pin");
    let pin = fs::read(&file).unwrap();
    let warned = |says: &str| {
        let (serving, token) = wait_for("health to know", || {
            let (serving, token) = component(&station, "token");
            (token["reason"] != "").then_some((serving, token))
        });
        let reason = token["reason"].as_str().unwrap();
        assert!(serving && token["state"] == "COMPONENT_STATE_READY", "{token}");
        assert!(reason.contains(says) && reason.contains(file.to_str().unwrap()) && reason.contains("next login"), "{token}");
        station.sign("a-general", pb::SignatureScheme::RsaPssSha256, &[1; 32]).unwrap();
        let shown = output(&mut station.socket_command(&["health"]));
        assert!(shown.starts_with("SERVING\n") && shown.contains("ready, with a warning: "), "{shown}");
        let json = last_line(&output(&mut station.socket_command(&["health", "--output", "json"])));
        assert!(json["components"][0]["state"] == "ready" && json["components"][0]["reason"] == reason, "{json}");
    };
    let restored = || {
        fs::write(&file, &pin).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        wait_for("the warning to end", || (component(&station, "token").1["reason"] == "").then_some(()));
    };
    fs::remove_file(&file).unwrap();
    warned("cannot be read");
    restored();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    warned("chmod 600");
    restored();
    fs::write(&file, "").unwrap();
    warned("its first line is empty");
    restored();
    fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    warned("is a FIFO");
    let told = String::from_utf8(pin.clone()).unwrap();
    assert!(!station.log().contains(told.trim()), "the PIN is in the log");
}
