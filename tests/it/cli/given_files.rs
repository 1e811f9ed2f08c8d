//! Files that commands are given: never waited for, never read without bound.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::said;
use crate::support::{PATIENCE, PROGRAM};

/// What a command said, and whether it ended. Its memory is bounded: what reads /dev/zero does not take the machine with it.
fn ends(arguments: &[&str]) -> Result<std::process::Output, String> {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 4000000; exec \"$@\"", "sh", PROGRAM]).args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STATIONMASTER_")) {
        command.env_remove(name);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if child.try_wait().unwrap().is_some() {
            return Ok(child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Err("it does not end".to_owned())
}

#[test]
fn a_file_that_would_be_waited_for_or_has_no_end_is_refused_at_once_by_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    for name in ["trust.toml", "access.toml", "message"] {
        fs::write(at(name), "version = 1\n").unwrap();
    }
    // A segment's name, and a backup's files.
    for (kind, path) in [("fifo", at("fifo")), ("zero", "/dev/zero".to_owned())] {
        fs::create_dir_all(at(&format!("log-{kind}"))).unwrap();
        std::os::unix::fs::symlink(&path, at(&format!("log-{kind}/00000001.jsonl"))).unwrap();
        fs::create_dir_all(at(&format!("backup-{kind}"))).unwrap();
        std::os::unix::fs::symlink(&path, at(&format!("backup-{kind}/backup.toml"))).unwrap();
    }
    fs::create_dir(at("state")).unwrap();
    // Long, and of no end that matters.
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let (trust, access, pin, so_pin) = (at("trust.toml"), at("access.toml"), at("pin"), at("so-pin"));
    let (out, state) = (at("out"), at("state"));
    for (file, text) in [(&pin, "123456\n"), (&so_pin, "654321\n")] {
        fs::write(file, text).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let https = ["--address", "https://localhost:1"];
    let mut wrong = Vec::new();
    for (kind, bad) in [("fifo", at("fifo")), ("zero", "/dev/zero".to_owned()), ("sparse", at("sparse"))] {
        let (log, backup) = (at(&format!("log-{kind}")), at(&format!("backup-{kind}")));
        let bad = bad.as_str();
        let mut all: Vec<Vec<&str>> = vec![
            vec!["config", "check", "--config", bad],
            vec!["serve", "--config", bad],
            vec!["key", "list", "--config", bad],
            vec!["run", "list", "--config", bad],
            vec!["audit", "show", "--config", bad],
            vec!["trust", "list", "--config", bad],
            vec!["trust", "list", "--file", bad],
            vec!["trust", "import", bad, "--file", &trust],
            vec!["trust", "verify", bad, "--file", &trust],
            vec!["trust", "add", "creator", "x", "--key", bad, "--file", &trust],
            vec!["access", "list", "--config", bad],
            vec!["access", "list", "--file", bad],
            vec!["access", "check", "unix:uid=0", "PreRun", "--file", bad],
            vec!["access", "allow", "unix:uid=0", "--role", "reader", "--file", bad],
            vec!["audit", "verify", &access, "--key", bad],
            vec!["train", "verify", "--archive", &access, "--trust", bad],
            vec!["unwrap", "--key", "a", "--scheme", "rsa-oaep-sha256", bad],
            vec!["health", https[0], https[1], "--tls-ca", bad, "--tls-cert", &access, "--tls-key", &access],
        ];
        // Streams of any length, which a sparse file is, too.
        if kind != "sparse" {
            all.push(vec!["token", "init", "--label", "x", "--so-pin-file", bad, "--module", &access]);
            all.push(vec!["token", "init", "--label", "x", "--so-pin-file", &so_pin, "--pin-file", &pin, "--module", bad]);
            all.push(vec!["train", "open", "--key", &access, bad, "-o", &out]);
            all.push(vec!["audit", "verify", bad]);
            all.push(vec!["audit", "verify", &log]);
            all.push(vec!["state", "restore", &backup, "--state", &state]);
            all.push(vec!["sign", "--key", "a", "--scheme", "rsa-pss-sha256", bad]);
            all.push(vec!["train", "verify", "--archive", bad]);
            all.push(vec!["train", "inspect", "--place", bad]);
            all.push(vec!["hash", "--place", bad]);
            all.push(vec!["image", "validate", "--place", bad, "--master-place", bad]);
        }
        for arguments in all {
            let told = match ends(&arguments) {
                Err(why) => why,
                Ok(done) if done.status.success() => "it succeeds".to_owned(),
                Ok(done) => {
                    let told = said(&done);
                    let why = match kind {
                        "fifo" => told.contains("is a FIFO"),
                        "zero" => told.contains("is a device"),
                        _ => told.contains("has more than") && (told.contains("iB")),
                    };
                    // One that names a train may as well be no image's name.
                    if why && (told.contains(bad) || told.contains(&log) || told.contains(&backup)) {
                        continue;
                    }
                    told
                }
            };
            wrong.push(format!("{kind}: {arguments:?}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_shell_gives_by_descriptor_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let key = openssl::rsa::Rsa::generate(2048).unwrap();
    fs::write(at("key.pem"), key.public_key_to_pem().unwrap()).unwrap();
    let trust = at("trust.toml");
    let bash = |script: &str| {
        let done = Command::new("bash").args(["-c", script, PROGRAM]).env("DIR", directory.path()).output().unwrap();
        assert!(done.status.success(), "{script}: {}", said(&done));
        done
    };
    bash("$0 trust add creator one --key <(cat $DIR/key.pem) --file $DIR/trust.toml");
    bash("$0 trust add creator two --key /dev/stdin --file $DIR/trust.toml < $DIR/key.pem");
    bash("cat $DIR/key.pem | $0 trust add creator three --key /dev/stdin --file $DIR/trust.toml");
    bash("$0 trust import <($0 trust export --file $DIR/trust.toml) --yes --file $DIR/other.toml");
    assert_eq!(fs::read_to_string(trust).unwrap().matches("[[creator]]").count(), 3);
    assert_eq!(fs::read_to_string(at("other.toml")).unwrap().matches("[[creator]]").count(), 3);
    // A pipe without an end is read up to the bound, and no further.
    let done = Command::new("bash")
        .args(["-c", "timeout 10 $0 trust add creator four --key <(cat /dev/zero) --file $DIR/trust.toml", PROGRAM])
        .env("DIR", directory.path())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    assert!(said(&done).contains("has more than 1 MiB"), "{}", said(&done));
}
