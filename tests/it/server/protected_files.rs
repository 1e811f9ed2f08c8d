//! Files that decide about trust and access, and files whose content is private.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cli::{output, said},
    support::{PROGRAM, Station, listen_on_tcp, pinned, set, wait_for},
};

/// A user that is neither root nor the tests'.
const NOBODY: u32 = 65534;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn health(station: &Station) -> String {
    station.health().unwrap()
}

#[test]
fn a_fifo_in_the_place_of_a_file_holds_up_neither_calls_nor_health_nor_the_end() {
    let mut station = Station::with("a").start_configured(listen_on_tcp);
    let fifo = |path: &Path| {
        fs::rename(path, path.with_extension("away")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    };
    let back = |path: &Path| fs::rename(path.with_extension("away"), path).unwrap();
    let access = station.state().join("access.toml");
    fifo(&access);
    // The call is answered, and with a refusal: who is admitted is not known.
    assert_eq!(station.keys().unwrap_err().reason, "RPC_NOT_ALLOWED");
    wait_for("health to know", || (health(&station) == "NOT_SERVING").then_some(()));
    assert!(station.log().contains("access.toml is a FIFO, not a regular file"), "the log does not say why");
    back(&access);
    station.keys().unwrap();

    for name in ["pki/ca.pem", "pki/server.pem", "pki/server.key"] {
        let file = station.state().join(name);
        fifo(&file);
        wait_for("the log to say so", || station.log().contains(&format!("{name} is a FIFO")).then_some(()));
        station.keys().unwrap();
        back(&file);
    }
    let (ca, log) = (station.state().join("pki/ca.pem"), station.log().len());
    fifo(&access);
    fifo(&ca);
    wait_for("both to be noticed", || station.log()[log..].contains("ca.pem is a FIFO").then_some(()));
    station.stop();
}

#[test]
fn a_file_that_cannot_be_used_any_more_is_named_by_health_while_its_last_content_applies() {
    let station = Station::with("a").start_pinned();
    for (component, name) in [("access", "access.toml"), ("trust", "trust.toml")] {
        let file = station.state().join(name);
        let good = fs::read(&file).unwrap();
        for broken in ["version = 2\n", "[[grant"] {
            fs::write(&file, broken).unwrap();
            let told = wait_for("health to tell", || {
                let said = said(&station.socket_command(&["health"]).output().unwrap());
                said.contains(&format!("{component}: unusable")).then_some(said)
            });
            assert!(told.contains(name) && told.contains("its previous contents stay in force"), "{told}");
            station.keys().expect("what was granted stays granted");
        }
        fs::write(&file, &good).unwrap();
        wait_for("health to be well", || (health(&station) == "SERVING").then_some(()));
    }
}

#[test]
fn an_access_file_that_is_emptied_revokes_everything_at_once_and_health_reports_it() {
    let mut station = Station::with("a").start_configured(|_| {});
    let file = station.state().join("access.toml");
    let good = fs::read(&file).unwrap();
    let refused = |what: &str| assert_eq!(station.keys().map(drop).unwrap_err().reason, "RPC_NOT_ALLOWED", "{what}");
    for empty in ["", "# closed\n\n", "version = 1\n"] {
        fs::write(&file, empty).unwrap();
        refused(empty);
        assert_eq!(health(&station), "NOT_SERVING", "{empty:?}");
        assert!(station.log().contains("access.toml grants nothing"), "the log does not say it");
        // What cannot be read leaves what was granted before it: nothing.
        fs::write(&file, "[[grant").unwrap();
        refused("garbled after it was emptied");
        fs::write(&file, &good).unwrap();
        station.keys().unwrap();
        assert_eq!(health(&station), "SERVING");
        // And what was granted before it is garbled stays granted, until it cannot be read at all, or the service starts anew.
        fs::write(&file, "[[grant").unwrap();
        station.keys().unwrap();
        fs::remove_file(&file).unwrap();
        refused("removed");
        fs::write(&file, &good).unwrap();
    }
    station.stop();
    fs::write(&file, "[[grant").unwrap();
    station.spawn();
    wait_for("the socket", || station.socket().exists().then_some(()));
    let refusal = wait_for("an answer", || station.keys().err().filter(|refusal| !refusal.reason.is_empty()));
    assert_eq!(refusal.reason, "RPC_NOT_ALLOWED", "a file that could never be read admits a caller");
}

#[test]
fn a_file_that_others_could_have_changed_grants_nothing_and_health_reports_it() {
    let outside = tempfile::tempdir().unwrap();
    chmod(outside.path(), 0o755);
    let file = outside.path().join("access.toml");
    let station = Station::with("a").start_configured(|config| {
        // The right file at first: the service must serve once.
        let state = PathBuf::from(config["state"]["directory"].as_str().unwrap());
        fs::copy(state.join("access.toml"), &file).unwrap();
        chmod(&file, 0o644);
        set(config, "access", "file", file.to_str().unwrap());
    });
    let good = |what: &str| assert!(station.keys().is_ok(), "{what}");
    let bad = |what: &str| assert_eq!(station.keys().map(drop).unwrap_err().reason, "RPC_NOT_ALLOWED", "{what}");
    good("as it should be");
    for (mode, what) in [(0o664, "writable by its group"), (0o646, "written by all")] {
        chmod(&file, mode);
        bad(what);
    }
    wait_for("health to know", || (health(&station) == "NOT_SERVING").then_some(()));
    chmod(&file, 0o644);
    good("mended");
    // The directory is asked about when the file changes: who can write there puts another one into its place.
    let replace = || {
        fs::copy(&file, outside.path().join("new")).unwrap();
        chmod(&outside.path().join("new"), 0o644);
        fs::rename(outside.path().join("new"), &file).unwrap();
    };
    for mode in [0o777, 0o775] {
        chmod(outside.path(), mode);
        replace();
        bad("a directory that others may write");
    }
    chmod(outside.path(), 0o755);
    replace();
    good("mended again");
    // As Kubernetes brings new content: through a link that is exchanged.
    for version in ["v1", "v2"] {
        fs::create_dir(outside.path().join(version)).unwrap();
        fs::copy(&file, outside.path().join(version).join("access.toml")).unwrap();
    }
    symlink("v1", outside.path().join("..data")).unwrap();
    fs::remove_file(&file).unwrap();
    symlink("..data/access.toml", &file).unwrap();
    good("through links");
    fs::write(outside.path().join("v2/access.toml"), "version = 1\n").unwrap();
    symlink("v2", outside.path().join("..new")).unwrap();
    fs::rename(outside.path().join("..new"), outside.path().join("..data")).unwrap();
    bad("the exchanged one grants nothing");
    if is_root() {
        fs::copy(outside.path().join("v1/access.toml"), outside.path().join("v2/access.toml")).unwrap();
        good("before it is another user's");
        chown(outside.path().join("v2/access.toml"), Some(NOBODY), None).unwrap();
        bad("another user's file behind links of root's");
    }
}

/// All that is below a directory, with mode and owner.
fn below(directory: &Path) -> BTreeMap<PathBuf, (u32, u32)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let facts = fs::symlink_metadata(&path).unwrap();
        if facts.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (facts.mode() & 0o7777, facts.uid()));
    }
    found
}

#[test]
fn what_the_service_keeps_is_for_its_user_alone_whatever_the_umask_and_the_mode_before() {
    let mut station = Station::with("a").umask(0).start();
    station.stop();
    station.edit_trust(|_| {});
    // As an earlier version left it, in a directory that was made beforehand.
    chmod(station.state(), 0o777);
    let ledger = station.state().join("ledger.sqlite");
    chmod(&ledger, 0o644);
    station.configure(pinned);
    station.start_again();
    assert!(station.log().contains("the state directory was accessible to others"), "the log does not say so");
    let found = below(station.state());
    let mode = |name: &str| found.get(&station.state().join(name)).unwrap_or_else(|| panic!("no {name}")).0;
    assert_eq!(mode(""), 0o700);
    for name in
        ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "instance", "lock", "pin", "audit/service/00000001.jsonl"]
    {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    // Of everything else: only what a test or SoftHSM has written may be read by others, and nothing may be written by them.
    let writable: Vec<_> = found.iter().filter(|(path, (mode, _))| mode & 0o022 != 0 && !path.ends_with("test.log")).collect();
    let ours: Vec<_> =
        writable.into_iter().filter(|(path, _)| !path.ends_with("api.sock") && !path.ends_with("test.toml")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn what_roots_commands_write_belongs_to_the_services_user() {
    if !is_root() {
        return;
    }
    let mut station = Station::start("a");
    station.stop();
    station.configure(|_| {});
    fs::remove_dir_all(station.state().join("audit")).unwrap();
    for path in below(station.state()).keys() {
        std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let config = station.state().join("test.toml");
    let run = |arguments: &[&str]| output(Command::new(PROGRAM).args(arguments).arg("--config").arg(&config));
    run(&["access", "allow", "unix:uid=7", "--role", "auditor"]);
    run(&["run", "list"]);
    run(&["access", "list"]);
    let foreign: Vec<_> = below(station.state()).into_iter().filter(|(_, (_, uid))| *uid != NOBODY).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(station.state().join("audit/officer/00000001.jsonl").exists());
}

#[test]
fn an_inaccessible_file_is_reported_with_owner_mode_user_and_remedy() {
    if !is_root() {
        return;
    }
    let mut station = Station::start("a");
    station.stop();
    station.configure(|_| {});
    chmod(station.state(), 0o711);
    chmod(&station.state().join("test.toml"), 0o644);
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
        std::os::unix::process::CommandExt::gid(&mut command, NOBODY);
        command.args(arguments).arg("--config").arg(station.state().join("test.toml"));
        let done = command.env("SOFTHSM2_CONF", "/dev/null").current_dir("/").output().unwrap();
        (done.status.code(), said(&done))
    };
    for (arguments, file) in [
        (&["run", "list"][..], "ledger.sqlite"),
        (&["key", "list"], "pin"),
        (&["access", "allow", "unix:uid=7", "--role", "auditor"], "the directory "),
        (&["serve"], ""),
    ] {
        let (code, text) = as_nobody(arguments);
        assert_eq!(code, Some(7), "{arguments:?}: {text}");
        for word in [file, "uid 0", "uid 65534", "chown"] {
            assert!(text.contains(word), "{arguments:?} without {word:?}: {text}");
        }
        assert!(!text.contains("there is no ledger"), "{text}");
    }
    let secret = station.state().join("pin");
    chmod(&secret, 0o644);
    let done = Command::new(PROGRAM).args(["key", "list", "--config"]).arg(station.state().join("test.toml")).output().unwrap();
    assert!(said(&done).contains("is readable by others (mode 0644): chmod 600"), "{}", said(&done));
    fs::remove_file(&secret).unwrap();
    fs::create_dir(&secret).unwrap();
    let done = Command::new(PROGRAM).args(["key", "list", "--config"]).arg(station.state().join("test.toml")).output().unwrap();
    assert!(said(&done).contains("pin is a directory: name the file in it"), "{}", said(&done));
}

#[test]
fn a_lock_that_is_a_link_is_refused_and_what_it_leads_to_is_left_alone() {
    let mut station = Station::start("a");
    station.stop();
    let victim = station.state().join("victim");
    fs::write(&victim, "precious").unwrap();
    for name in ["lock", "api.sock.lock", "ledger.sqlite", "instance.new"] {
        let place = station.state().join(name);
        let away = station.state().join("away");
        let was_there = fs::rename(&place, &away).is_ok();
        symlink(&victim, &place).unwrap();
        station.configure(|_| {});
        station.spawn();
        if name == "instance.new" {
            // No name that is known beforehand is written to: it starts.
            wait_for("the socket", || station.socket().exists().then_some(()));
            station.stop();
        } else {
            assert!(!station.wait().success(), "{name}: it started");
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        fs::remove_file(&place).unwrap();
        if was_there {
            fs::rename(&away, &place).unwrap();
        }
    }
    station.start_again();
}

#[test]
fn a_ledger_that_is_a_link_or_another_users_is_refused_by_every_command_of_administrators() {
    let mut station = Station::start("a");
    station.stop();
    let (ledger, elsewhere) = (station.state().join("ledger.sqlite"), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("ledger.sqlite");
    fs::rename(&ledger, &target).unwrap();
    symlink(&target, &ledger).unwrap();
    let copy = elsewhere.path().join("copy").to_str().unwrap().to_owned();
    let commands: &[&[&str]] = &[
        &["run", "list"],
        &["run", "show", "none"],
        &["run", "abandon", "none", "--reason", "x"],
        &["run", "allow-again", "none", "--reason", "x"],
        &["run", "forget-session", "00", "--reason", "x"],
        &["run", "prune", "--older-than", "1", "--reason", "x"],
        &["state", "backup", &copy],
        &["state", "accept-loss", "ledger", "--reason", "x"],
        &["state", "accept-loss", "audit", "--reason", "x"],
    ];
    let refused = |exit: i32, words: &[&str]| {
        for command in commands {
            let done = Command::new(PROGRAM).args(*command).arg("--state").arg(station.state()).output().unwrap();
            assert_eq!(done.status.code(), Some(exit), "{command:?}: {}", said(&done));
            for word in words.iter().chain(&["ledger.sqlite"]) {
                assert!(said(&done).contains(word), "{command:?} without {word:?}: {}", said(&done));
            }
        }
    };
    let before = fs::read(&target).unwrap();
    refused(2, &["a symbolic link"]);
    // Beside a ledger of the station's own, too.
    fs::remove_file(&ledger).unwrap();
    fs::rename(&target, &ledger).unwrap();
    symlink(&target, station.state().join("ledger.sqlite-wal")).unwrap();
    refused(2, &["a symbolic link", "-wal"]);
    fs::remove_file(station.state().join("ledger.sqlite-wal")).unwrap();
    assert!(!target.exists(), "something was written through the link");
    if is_root() {
        chown(&ledger, Some(NOBODY), None).unwrap();
        refused(7, &["uid 65534"]);
        chown(&ledger, Some(0), None).unwrap();
    }
    assert_eq!(fs::read(&ledger).unwrap(), before);
    // A backup copies nothing that only its caller can read.
    let instance = station.state().join("instance");
    fs::rename(&instance, &target).unwrap();
    symlink(&target, &instance).unwrap();
    let done = Command::new(PROGRAM).args(["state", "backup", &copy, "--state"]).arg(station.state()).output().unwrap();
    assert!(done.status.code() == Some(2) && said(&done).contains("instance: it is a symbolic link"), "{}", said(&done));
    assert!(!Path::new(&copy).exists());
    fs::rename(&target, &instance).unwrap();
    station.start_again();
}

#[test]
fn a_service_of_roots_does_not_take_the_state_directory_of_another_user() {
    if !is_root() {
        return;
    }
    let mut station = Station::start("a");
    station.stop();
    station.configure(|_| {});
    let config = station.state().join("test.toml");
    chown(station.state(), Some(NOBODY), None).unwrap();
    for arguments in [
        &["serve", "--config", config.to_str().unwrap()][..],
        &["serve", "--dev", "--station", "a", "--state", station.state().to_str().unwrap()],
    ] {
        let done = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(7), "{arguments:?}: {}", said(&done));
        assert!(said(&done).contains("it belongs to uid 65534, and this process is uid 0:"), "{}", said(&done));
    }
    // Commands of root's administer it.
    output(Command::new(PROGRAM).args(["run", "list", "--config"]).arg(&config));
    chown(station.state(), Some(0), None).unwrap();
    station.start_again();
}
