//! What the system refuses, told with its own words, the path and what helps.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Output},
};

use super::said;
use crate::support::{
    Disk, PROGRAM, Station,
    disk::{empty, fill},
    privileged, set,
    tamper::Scene,
};

fn alone(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STATIONMASTER_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

/// Files with a user PIN and with an SO PIN.
fn pins(directory: &Path) -> (String, String) {
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (file("pin", "123456\n"), file("so-pin", "654321\n"))
}

#[track_caller]
fn says(done: &Output, exit: i32, words: &[&str]) {
    assert_eq!(done.status.code(), Some(exit), "{}", said(done));
    for word in words {
        assert!(said(done).contains(word), "no {word:?}: {}", said(done));
    }
    assert!(!said(done).contains("entity not found"), "{}", said(done));
}

#[test]
fn a_missing_pin_file_and_module_are_named_in_the_systems_words_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (pin, so_pin) = pins(directory.path());
    let absent = at("absent");
    let init = ["token", "init", "--label", "x", "--pin-file"];
    let done = alone(&[&init[..], &[&pin, "--so-pin-file", &absent]].concat());
    says(&done, 3, &[&absent, "No such file or directory", "hint: write the PIN into it", "--so-pin-file"]);
    let done = alone(&[&init[..], &[&pin, "--so-pin-file", &so_pin, "--module", &absent]].concat());
    says(&done, 3, &[&absent, "No such file or directory", "hint: check the module's path"]);
}

#[test]
fn a_label_that_would_not_be_found_or_seen_again_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (pin, so_pin) = pins(directory.path());
    for (label, why) in [
        ("pht ", "begins or ends with a blank"),
        ("st1 ", "begins or ends with a blank"),
        ("*", "it holds `*`"),
        ("p\tht", "control character"),
        ("123456789012345678901234567890123", "1 to 32 bytes"),
    ] {
        let done = alone(&["token", "init", "--label", label, "--so-pin-file", &so_pin, "--pin-file", &pin]);
        says(&done, 2, &[why, "hint: choose a label"]);
    }
}

#[test]
fn a_ledger_that_is_a_link_and_a_directory_that_is_a_file_are_reported_with_the_remedy() {
    let mut station = Station::start("a");
    station.stop();
    station.configure(|_| {});
    let at = |name: &str| station.state().join(name);
    let serve = || alone(&["serve", "--config", at("test.toml").to_str().unwrap()]);
    fs::rename(at("ledger.sqlite"), at("elsewhere")).unwrap();
    symlink("elsewhere", at("ledger.sqlite")).unwrap();
    says(
        &serve(),
        2,
        &["ledger.sqlite", "it is a symbolic link", "hint: the service follows no link", "put the file itself there"],
    );
    fs::remove_file(at("ledger.sqlite")).unwrap();
    fs::rename(at("elsewhere"), at("ledger.sqlite")).unwrap();
    fs::remove_dir_all(at("runs")).unwrap();
    fs::write(at("runs"), "").unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--config"]).arg(at("test.toml")).env("SOFTHSM2_CONF", station.softhsm_conf());
    says(&command.output().unwrap(), 2, &["runs", "Not a directory", "hint: a file has this name"]);
}

#[test]
fn an_inaccessible_configuration_or_audit_is_reported_with_owner_and_user() {
    const NOBODY: u32 = 65534;
    // Only root can run a command as another user.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut station = Station::start("a");
    station.stop();
    station.configure(|_| {});
    let config = station.state().join("test.toml").to_str().unwrap().to_owned();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.uid(NOBODY).gid(NOBODY).args(arguments).current_dir("/");
        command.output().unwrap()
    };
    mode(station.state(), 0o711);
    mode(Path::new(&config), 0o600);
    for arguments in [&["config", "check", "--config", &config][..], &["run", "list", "--config", &config]] {
        says(&as_nobody(arguments), 7, &[&config, "belongs to uid 0", "uid 65534"]);
    }
    mode(Path::new(&config), 0o644);
    for command in ["tail", "show", "export"] {
        says(&as_nobody(&["audit", command, "--config", &config]), 7, &["audit", "belongs to uid 0", "uid 65534"]);
    }
}

#[test]
fn a_full_disk_is_reported_with_the_directory_on_it() {
    let scene = Scene::set();
    let room = tempfile::tempdir().unwrap();
    let place = room.path().join("disk");
    let _disk = Disk::mount(&place, 256);
    // As /tmp is: the trust file's rule takes it.
    assert!(privileged("chmod").arg("1777").arg(&place).status().unwrap().success());
    let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let full = format!("free space on the file system of {}", place.display());
    let station = &scene.station;
    for name in ["trust.toml", "access.toml"] {
        fs::write(at(name), "version = 1\n").unwrap();
    }
    let key = station.state().join("key.pem").to_str().unwrap().to_owned();
    assert!(station.client_command(&["key", "export", "a", "-o", &key]).output().unwrap().status.success());
    fill(&place, 0);
    let done = alone(&["trust", "add", "station", "x", "--key", &key, "--file", &at("trust.toml")]);
    says(&done, 6, &["trust.toml", &full]);
    let done = alone(&["access", "allow", "unix:uid=7", "--role", "auditor", "--file", &at("access.toml")]);
    says(&done, 6, &["access.toml", &full]);
    let done = alone(&["state", "backup", &at("backup"), "--state", station.state().to_str().unwrap()]);
    says(&done, 6, &[place.to_str().unwrap(), &full]);
    empty(&place);
    fill(&place, 40);
    let done = alone(&["state", "backup", &at("backup"), "--state", station.state().to_str().unwrap()]);
    says(&done, 6, &[place.to_str().unwrap(), &full]);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 3, "something is left");
    // What a train is opened into: its own reserve, which no small disk has.
    let saved = station.state().join("train.tar").to_str().unwrap().to_owned();
    fs::write(&saved, crate::support::tamper::fetched(&scene.engine, &scene.train.image, "/opt")).unwrap();
    let creator = scene.train.creator_key().to_str().unwrap().to_owned();
    let out = at("out");
    let done = alone(&["train", "open", "--key", &creator, &saved, "-o", &out]);
    let there = format!("free space on the file system of {out}");
    assert!(said(&done).contains(&there) || said(&done).contains(&full), "{}", said(&done));
    assert!(!said(&done).contains("the service's log"), "{}", said(&done));
}

#[test]
fn a_directory_that_is_no_stations_keeps_its_mode_and_is_not_served_from() {
    let room = tempfile::tempdir().unwrap();
    let foreign = room.path().join("home");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter"), "dear").unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o755)).unwrap();
    let untouched = || {
        assert_eq!(fs::metadata(&foreign).unwrap().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    };
    let words = [foreign.to_str().unwrap(), "\"letter\"", "name a new or an empty directory", "chmod 700"];
    says(&alone(&["serve", "--dev", "--station", "a", "--state", foreign.to_str().unwrap()]), 5, &words);
    untouched();
    let mut station = Station::start("a");
    station.stop();
    station.configure(|config| set(config, "state", "directory", foreign.to_str().unwrap()));
    let config = station.state().join("test.toml").to_str().unwrap().to_owned();
    says(&alone(&["serve", "--config", &config]), 5, &words);
    says(&alone(&["config", "check", "--config", &config]), 2, &words);
    untouched();
}
