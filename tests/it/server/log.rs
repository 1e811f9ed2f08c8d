//! The log: what the journal needs of it, and what becomes of a service whose log is not read.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use stationmaster_proto::SignatureScheme;

use crate::support::{Engine, PROGRAM, Station, wait_for};

#[test]
fn lines_to_the_journal_begin_with_their_priority() {
    let mut station = Station::start("a");
    station.stop();
    let file = station.state().join("test.log");
    let facts = fs::metadata(&file).unwrap();
    let before = station.log().len();
    assert!(station.log().lines().all(|line| !line.starts_with('<')), "{}", station.log());
    station.set_env("JOURNAL_STREAM", Some(&format!("{}:{}", facts.dev(), facts.ino())));
    station.start_again();
    let log = station.log()[before..].to_owned();
    let of = |priority: &str, level: &str| log.lines().any(|line| line.starts_with(priority) && line.contains(level));
    assert!(of("<6>{", "\"INFO\"") && of("<4>{", "\"WARN\""), "{log}");
    assert!(!of("<6>{", "\"WARN\"") && !of("<4>{", "\"INFO\""), "{log}");
}

#[test]
fn a_log_without_a_reader_delays_neither_calls_nor_the_end() {
    let mut station = Station::start("a");
    station.stop();
    let _ = fs::remove_file(station.state().join("env"));
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--dev", "--station", "a", "--bits", "2048", "--log", "trace", "--state"]).arg(station.state());
    command.args(Engine::host().iter().flat_map(|host| ["--engine", host]));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let unread = child.stderr.take();
    wait_for("the service", || station.state().join("env").exists().then_some(()));
    for _ in 0..100 {
        station.sign("a-general", SignatureScheme::RsaPssSha256, &[1; 32]).unwrap();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = wait_for("the service to end", || child.try_wait().unwrap());
    assert!(status.success(), "{status}");
    drop(unread);
}
