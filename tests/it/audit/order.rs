//! The order of system calls: the intent is on the disk before the token is asked, the outcome before the answer leaves.

use std::{fs, path::Path, process::Child};

use stationmaster_proto::SignatureScheme;

use crate::support::{Station, privileged, token::SpyLog, wait_for};

/// A tracer of a process; it lets go when it ends.
struct Tracer(Child);

impl Tracer {
    fn of(pid: u32, log: &Path) -> Self {
        let calls = "trace=fdatasync,fsync,write,writev,sendto,sendmsg";
        let child = privileged("strace")
            .args(["-f", "-s", "64", "-y", "-e", calls, "-p", &pid.to_string(), "-o"])
            .arg(log)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("strace: run `make test`, which installs it");
        // Attached once every thread of the process has a tracer.
        let tasks = format!("/proc/{pid}/task");
        wait_for("the tracer", || {
            let traced = |task: fs::DirEntry| {
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
            };
            fs::read_dir(&tasks).ok()?.all(|task| task.is_ok_and(traced)).then_some(())
        });
        Self(child)
    }

    fn end(mut self) {
        let pid = self.0.id().to_string();
        let _ = privileged("kill").args(["-INT", &pid]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn the_disk_has_the_intent_before_the_token_is_asked_and_the_outcome_before_the_answer_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let (_, launch) = SpyLog::on(directory.path().join("spy.log"), Station::with("a"));
    let station = launch.start();
    let sign = || station.sign("a-general", SignatureScheme::RsaPssSha256, &[7; 32]).unwrap();
    sign();
    let log = directory.path().join("strace.log");
    let tracer = Tracer::of(station.pid(), &log);
    sign();
    tracer.end();

    let trace = fs::read_to_string(&log).unwrap();
    // Finished calls in their order; an unfinished one counts where it ends.
    let what = |line: &str| {
        let ended = !line.contains("<unfinished");
        if ended && line.contains("fdatasync") && (line.contains("audit/service") || line.contains("resumed")) {
            Some("synced")
        } else if line.contains("C_SignInit") {
            Some("token asked")
        } else if line.contains("<socket:") || line.contains("<UNIX") {
            Some("answered")
        } else {
            None
        }
    };
    let mut order: Vec<&str> = trace.lines().filter_map(what).collect();
    order.dedup();
    // Window updates and acknowledgements may go to the caller at any time; its answer is the last.
    let first = order.iter().position(|what| *what == "synced").unwrap_or_else(|| panic!("no sync at all:\n{trace}"));
    let order: Vec<_> = order[first..].iter().filter(|what| **what != "answered").copied().chain(order.last().copied()).collect();
    assert_eq!(order, ["synced", "token asked", "synced", "answered"], "{trace}");
}
