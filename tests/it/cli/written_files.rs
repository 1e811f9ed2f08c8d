//! Files that commands write with `-o`: new, whole or not at all, and for whom they are.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::{Command, Output},
};

use super::said;
use crate::support::{
    Disk, PROGRAM, Station,
    disk::{empty, fill},
};

/// Every command with `-o FILE`: its arguments, and the mode of what it writes.
fn writers(station: &Station) -> Vec<(Vec<String>, u32)> {
    let at = |name: &str| station.state().join(name).to_str().unwrap().to_owned();
    fs::write(at("message"), "a message").unwrap();
    fs::write(at("other-trust.toml"), "version = 1\n").unwrap();
    let state = station.state().display();
    [
        (format!("audit export --state {state}"), 0o600),
        (format!("trust export --file {}", at("other-trust.toml")), 0o644),
        (format!("sign --key a-general --scheme rsa-pss-sha256 {}", at("message")), 0o644),
        ("key export a".to_owned(), 0o644),
    ]
    .into_iter()
    .map(|(line, mode)| (line.split(' ').map(str::to_owned).collect(), mode))
    .collect()
}

fn write(station: &Station, command: &[String], to: &Path, more: &[&str]) -> Output {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    station.client_command(&words).arg("-o").arg(to).args(more).output().unwrap()
}

#[test]
fn what_a_command_writes_is_new_follows_no_link_and_has_its_own_mode() {
    let station = Station::start("a");
    let directory = tempfile::tempdir().unwrap();
    let (file, link, victim) = (directory.path().join("f"), directory.path().join("l"), directory.path().join("victim"));
    for (command, mode) in writers(&station) {
        let _ = fs::remove_file(&file);
        // The umask would leave more, or less.
        for umask in ["000", "077"] {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let plain = station.client_command(&words);
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(plain.get_program()).args(plain.get_args());
            shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let done = shell.arg("-o").arg(&file).arg("--force").output().unwrap();
            assert!(done.status.success(), "{command:?}: {}", said(&done));
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, mode, "{command:?} with umask {umask}");
        }
        let before = fs::read(&file).unwrap();
        assert!(!before.is_empty(), "{command:?}");
        // Something is there: it stays.
        let done = write(&station, &command, &file, &[]);
        assert_eq!(done.status.code(), Some(5), "{command:?}: {}", said(&done));
        assert!(said(&done).contains("--force") && said(&done).contains(file.to_str().unwrap()), "{}", said(&done));
        assert_eq!(fs::read(&file).unwrap(), before, "{command:?}");
        // A link is no place to write to, whether it leads to a file or nowhere; with --force it is replaced itself.
        for target in ["victim", "nowhere"] {
            fs::write(&victim, "precious").unwrap();
            symlink(target, &link).unwrap();
            let done = write(&station, &command, &link, &[]);
            assert_eq!(done.status.code(), Some(5), "{command:?}: {}", said(&done));
            let done = write(&station, &command, &link, &["--force"]);
            assert!(done.status.success(), "{command:?}: {}", said(&done));
            assert!(fs::symlink_metadata(&link).unwrap().is_file(), "{command:?}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{command:?}");
            assert!(!directory.path().join("nowhere").exists(), "{command:?}");
            fs::remove_file(&link).unwrap();
        }
        // A directory is none either, and is said to be one.
        let done = write(&station, &command, directory.path(), &["--force"]);
        assert!(!done.status.success() && said(&done).contains("directory"), "{command:?}: {}", said(&done));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "{command:?} leaves something");
    }
}

#[test]
fn a_full_disk_leaves_nothing_of_a_file_and_the_repeat_works() {
    let station = Station::start("a");
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("disk");
    let _disk = Disk::mount(&place, 256);
    for (command, _) in writers(&station) {
        fill(&place, 0);
        let file = place.join("f");
        let done = write(&station, &command, &file, &[]);
        assert_eq!(done.status.code(), Some(6), "{command:?}: {}", said(&done));
        assert!(said(&done).contains("the disk is full") && said(&done).contains(file.to_str().unwrap()), "{}", said(&done));
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "{command:?} leaves something");
        empty(&place);
        let done = write(&station, &command, &file, &[]);
        assert!(done.status.success(), "{command:?}: {}", said(&done));
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn standard_output_and_pipes_are_written_to_as_they_are() {
    let station = Station::start("a");
    for (command, _) in writers(&station) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        // A signature is another one each time.
        let is_same = command[0] != "sign";
        let plain = station.client_command(&words).output().unwrap();
        assert!(plain.status.success(), "{}", said(&plain));
        for to in ["-", "/dev/stdout"] {
            let done = write(&station, &command, Path::new(to), &[]);
            assert!(done.status.success(), "{command:?} -o {to}: {}", said(&done));
            assert!(!done.stdout.is_empty() && (!is_same || done.stdout == plain.stdout), "{command:?} -o {to}: {}", said(&done));
        }
        // What a shell makes of >(…), a FIFO, and a device.
        let mut bash = Command::new("bash");
        let named = station.client_command(&words);
        let fifo = station.state().join("fifo");
        bash.arg("-c").arg(
            "mkfifo \"$0\" && (cat \"$0\" &) && \"$@\" -o \"$0\" && \"$@\" -o >(cat) && \"$@\" -o /dev/null; rm \"$0\"; wait",
        );
        bash.arg(&fifo).arg(named.get_program()).args(named.get_args());
        let done = bash.envs(named.get_envs().filter_map(|(name, value)| Some((name, value?)))).output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", said(&done));
        assert!(done.stdout.len() >= 2 * plain.stdout.len(), "{command:?}: {}", said(&done));
        assert!(!Path::new("-").exists());
    }
}

#[test]
fn an_opened_key_goes_to_a_new_file_of_its_owners_and_a_command_that_fails_leaves_none() {
    let directory = tempfile::tempdir().unwrap();
    let (wrapped, file) = (directory.path().join("wrapped"), directory.path().join("key.bin"));
    fs::write(&wrapped, "x").unwrap();
    let unwrap = |more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["unwrap", "--address", "unix:///nowhere/api.sock", "--key", "a", "--scheme", "rsa-oaep-sha256"]);
        command.arg(&wrapped).arg("-o").arg(&file).args(more).output().unwrap()
    };
    assert!(!unwrap(&[]).status.success());
    assert!(!file.exists());
    // With --force, a command that fails takes nothing away.
    fs::write(&file, "before").unwrap();
    assert_eq!(unwrap(&[]).status.code(), Some(5));
    assert!(!unwrap(&["--force"]).status.success());
    assert_eq!(fs::read(&file).unwrap(), b"before");
}
