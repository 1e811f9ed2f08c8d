//! Stations with one thing broken.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    process::Command,
};

use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};

use super::{Diagnosis, Patient};
use crate::support::{Disk, as_root, disk, set, token::softhsm};

fn mode(path: &str, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_module_at_another_path() {
    let mut patient = Patient::new();
    patient.configure(|config| set(config, "token", "module", "/nowhere/module.so"));
    patient.fails_in("module", "/nowhere/module.so does not exist", "apt install softhsm2");
}

#[test]
fn a_module_that_crashes() {
    let mut patient = Patient::new();
    let fault = FaultModule::create(&patient.station.state().join("fault"), &softhsm()).unwrap();
    let module = FaultModule::library().unwrap().to_str().unwrap().to_owned();
    patient.configure(|config| set(config, "token", "module", module));
    fault.set("C_Initialize every before crash").unwrap();
    let mut command = patient.command(&[]);
    command.env(VARIABLE, fault.directory());
    Diagnosis::of(command).is_only("module", "crashed (SIGABRT)", "vendor's tools");
}

#[test]
fn a_token_that_is_not_initialised() {
    let patient = Patient::new();
    let blank = tempfile::tempdir().unwrap();
    let conf = stationmaster_keystore::softhsm::write_conf(blank.path()).unwrap();
    let mut command = patient.command(&[]);
    command.env("SOFTHSM2_CONF", conf);
    let options = format!("`stationmaster token init --config {}`", patient.path("test.toml"));
    Diagnosis::of(command).is_only("token", "is not initialised", &options);
}

#[test]
fn nothing_is_changed_without_a_login_and_no_login_is_made() {
    let patient = Patient::new();
    let files = || {
        let listed =
            Command::new("find").arg(patient.station.state()).args(["-type", "f", "-exec", "sha256sum", "{}", "+"]).output();
        let mut lines: Vec<_> = String::from_utf8(listed.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    fs::write(patient.path("pin"), "000000\n").unwrap();
    let before = files();
    assert_eq!(Diagnosis::of(patient.command(&["--no-login"])).code, Some(0));
    assert_eq!(files(), before);
}

#[test]
fn a_wrong_pin_which_is_tried_once() {
    let patient = Patient::new();
    fs::write(patient.path("pin"), "000000\n").unwrap();
    let unblock = format!("`stationmaster pin unblock --config {}`", patient.path("test.toml"));
    patient.fails_in("login", "the token refused the PIN", &unblock);
    patient.fails_in("login", "was refused before and is not tried again", &unblock);
    // It is known without a login, too.
    Diagnosis::of(patient.command(&["--no-login"])).is_only("login", "was refused before", &unblock);
    // The right PIN needs no other correction.
    fs::write(patient.path("pin"), format!("{}\n", "000001")).unwrap();
    assert_eq!(Diagnosis::of(patient.command(&["--no-login"])).code, Some(0));
}

#[test]
fn a_pin_file_that_all_can_read() {
    let patient = Patient::new();
    mode(&patient.path("pin"), 0o644);
    patient.fails_in("pin", "is accessible to others (mode 0644)", &format!("chmod 600 {}", patient.path("pin")));
}

#[test]
fn a_key_that_is_missing() {
    let mut patient = Patient::new();
    patient.configure(|config| set(config, "keys", "general", vec![toml::Value::from("not-made")]));
    let remedy = format!("`stationmaster key generate not-made --purpose general --config {}`", patient.path("test.toml"));
    let diagnosis = patient.fails_in("key", "no key labelled \"not-made\"", &remedy);
    assert_eq!(diagnosis.failures()[0].subject.as_deref(), Some("not-made"));
}

#[test]
fn a_key_that_can_leave_the_token() {
    let mut patient = Patient::new();
    let made = Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", patient.station.softhsm_conf())
        .arg("--module")
        .arg(softhsm())
        .args(["--token-label", "stationmaster-dev", "--login", "--pin", &patient.station.pin()])
        .args(["--keypairgen", "--key-type", "rsa:2048", "--label", "leaky", "--id", "77", "--extractable"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    patient.configure(|config| set(config, "keys", "general", vec![toml::Value::from("leaky")]));
    patient.fails_in("key", "\"leaky\" can be exported (CKA_EXTRACTABLE)", "key generate NEW-LABEL --purpose general");
}

#[test]
fn an_engine_whose_socket_is_gone_and_one_that_does_not_answer() {
    let mut patient = Patient::new();
    let socket = patient.path("engine.sock");
    patient.configure(|config| set(config, "engine", "socket", format!("unix://{socket}")));
    patient.fails_in("engine", &format!("{socket} does not exist"), "systemctl start docker");
    drop(UnixListener::bind(&socket).unwrap());
    patient.fails_in("engine", "does not answer", "systemctl status docker");
}

#[test]
fn a_trust_file_that_all_can_write() {
    let patient = Patient::new();
    let file = patient.path("trust.toml");
    mode(&file, 0o666);
    patient.fails_in("trust", "NO TRAIN IS OPENED", &format!("chmod 644 {file}"));
}

#[test]
fn an_access_file_that_cannot_be_parsed() {
    let patient = Patient::new();
    fs::write(patient.path("access.toml"), "this is no table\n").unwrap();
    patient.fails_in("access", "access.toml", "access list");
}

#[test]
fn an_audit_log_that_was_truncated() {
    let patient = Patient::new();
    let log = patient.path("audit/service/00000001.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let kept = lines[..lines.len() - 2].join("\n") + "\n";
    fs::write(&log, kept).unwrap();
    patient.fails_in("audit", "audit/service", &format!("`stationmaster audit verify {}`", patient.path("audit")));
}

#[test]
fn a_file_of_key_states_that_cannot_be_parsed() {
    let patient = Patient::new();
    fs::write(patient.path("key-states.toml"), "version = 1\nno = \"state\"\n").unwrap();
    patient.fails_in("key-states", "key-states.toml:2", "key list");
}

#[test]
fn a_ledger_that_is_lost() {
    let patient = Patient::new();
    for file in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        let _ = fs::remove_file(patient.path(file));
    }
    patient.fails_in("ledger", "ledger is missing or empty", "state restore BACKUP");
}

#[test]
fn a_state_directory_of_another_user() {
    let patient = Patient::new();
    let state = patient.station.state().to_owned();
    assert!(as_root("chown").arg("65534").arg(&state).status().unwrap().success());
    let diagnosis = patient.diagnosis();
    let own = rustix::process::geteuid().as_raw().to_string();
    assert!(as_root("chown").arg(own).arg(&state).status().unwrap().success());
    diagnosis.is_only("state", "belongs to nobody", "chown ");
}

#[test]
fn a_disk_that_is_full() {
    let mut patient = Patient::new();
    let spool = tempfile::tempdir().unwrap();
    let mounted = spool.path().join("spool");
    let _disk = Disk::mount(&mounted, 1024);
    assert!(as_root("chmod").arg("0700").arg(&mounted).status().unwrap().success());
    disk::fill(&mounted, 0);
    let path = mounted.to_str().unwrap().to_owned();
    patient.configure(|config| set(config, "state", "spool", path.as_str()));
    patient.fails_in("disk", &format!("MiB are free in {path}"), "`df -h`");
}

#[test]
fn a_directory_of_the_socket_that_does_not_exist() {
    let mut patient = Patient::new();
    let directory = patient.path("run");
    patient.configure(|config| set(config, "listen", "unix", format!("{directory}/api.sock")));
    patient.fails_in("unix-socket", &format!("{directory} does not exist"), &format!("install -d -m 0755 {directory}"));
}

#[test]
fn a_group_of_the_socket_that_does_not_exist() {
    let mut patient = Patient::new();
    patient.configure(|config| set(config, "listen", "unix_group", "no-such-group-here"));
    patient.fails_in("unix-socket", "no-such-group-here", "groupadd no-such-group-here");
}

#[test]
fn a_configuration_that_cannot_be_parsed_is_named_with_its_line() {
    let patient = Patient::new();
    fs::write(patient.path("test.toml"), "station = \"a\"\nstatoin = 1\n").unwrap();
    let wrong = Diagnosis::of(patient.command(&[]));
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.answer["error"]["message"].as_str().unwrap().contains("test.toml:"), "{wrong:?}");
}

#[test]
fn a_development_station_and_one_that_serves_are_healthy_and_no_pin_is_shown() {
    let station = crate::support::Station::start("hospital-1");
    let mut command = Command::new(super::PROGRAM);
    command.args(["--output", "json", "doctor", "--state"]).arg(station.state());
    let healthy = Diagnosis::of(command);
    assert!(healthy.code == Some(0) && healthy.failures().is_empty(), "{healthy:#?}");
    let service = healthy.all().into_iter().find(|node| node.name == "service").unwrap();
    assert_eq!((service.state.as_str(), service.cause.as_str()), ("success", "SERVING"));
    assert!(!healthy.answer.to_string().contains(&station.pin()));
    let of = |name: &str| healthy.all().into_iter().find(|node| node.name == name).unwrap();
    let audit = of("audit");
    assert!(audit.cause.contains("the last checkpoint covers") && !audit.cause.contains("covers 0"), "{audit:#?}");
    assert!(of("trust").state == "warning" && of("trust").remedy.contains("pinned"), "{:#?}", of("trust"));
}
