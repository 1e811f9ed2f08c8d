//! Tokens of development stations, made once for each build of the program and copied for each station.
//!
//! Making its three RSA keys is most of the work of a station's first start. Two stations in one test have different keys, also
//! with the same id; stations in different tests may have the same.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
};

use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};

use super::{super::wait_for, PROGRAM, process::program};

/// The parts of a state directory that are the token.
const PARTS: [&str; 2] = ["softhsm", "pin"];

/// Puts a token with the keys of a station into its state directory.
#[track_caller]
pub(super) fn put_into(state: &Path, id: &str, bits: u32) {
    let made = made(id, bits);
    for part in PARTS {
        copy(&made.join(part), &state.join(part));
    }
}

/// A state directory with such a token: the next one for this process.
fn made(id: &str, bits: u32) -> PathBuf {
    static TAKEN: Mutex<BTreeMap<(String, u32), u32>> = Mutex::new(BTreeMap::new());
    let number = {
        let mut taken = TAKEN.lock().expect("no panic");
        let number = taken.entry((id.to_owned(), bits)).or_default();
        *number += 1;
        *number
    };
    let program = fs::metadata(PROGRAM).expect("the program");
    let build = format!("{}.{}-{}", program.mtime(), program.mtime_nsec(), program.len());
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokens").join(build);
    DirBuilder::new().recursive(true).mode(0o700).create(&all).expect("a directory");
    let name = const_hex::encode(&Sha256::digest(format!("{bits} {number} {id}"))[..12]);
    let place = all.join(&name);
    if !place.exists() {
        let lock = File::create(all.join(format!("{name}.lock"))).expect("a lock");
        lock.lock().expect("a lock");
        if !place.exists() {
            let closed = PermissionsExt::from_mode(0o700);
            let state = tempfile::Builder::new().permissions(closed).tempdir_in(&all).expect("a directory");
            make(state.path(), id, bits);
            fs::rename(state.keep(), &place).expect("a name");
        }
    }
    place
}

/// Has a development station make its token.
fn make(state: &Path, id: &str, bits: u32) {
    let layouts = tempfile::tempdir().expect("a directory");
    let log = File::create(state.join("test.log")).expect("a log file");
    let mut command = program();
    command.args(["serve", "--dev", "--station", id, "--bits", &bits.to_string(), "--state"]).arg(state);
    command.arg("--layouts").arg(layouts.path()).stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log);
    let mut child = command.spawn().expect(PROGRAM);
    let text = || fs::read_to_string(state.join("test.log")).unwrap_or_default();
    wait_for("a station that makes its token", || {
        assert!(child.try_wait().expect("a child of ours").is_none(), "it ended:\n{}", text());
        state.join("env").exists().then_some(())
    });
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a child of ours");
    assert!(child.wait().expect("a child of ours").success(), "{}", text());
}

/// Copies a file, or a directory that belongs to its owner only.
fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).expect("a copy");
        return;
    }
    DirBuilder::new().mode(0o700).create(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
