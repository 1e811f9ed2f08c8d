//! `isolation = "process"`: the token's module, its memory and the PIN are in a process of their own, whose end ends nothing else.

use std::{fs, process::Command, thread, time::Duration};

use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};
use stationmaster_proto::SignatureScheme;

use super::{costs_one_decryption_and_two_signatures, has_softhsm};
use crate::support::{
    Station, as_root,
    core_image::search,
    set,
    token::{SpyLog, softhsm},
    wait_for,
};

/// A station whose module is in a process of its own.
fn isolated(change: impl FnOnce(&mut toml::Table)) -> Station {
    Station::with("a").start_configured(|config| {
        set(config, "token", "isolation", "process");
        change(config);
    })
}

/// The processes that hold tokens.
pub(super) fn workers_of(station: &Station) -> Vec<u32> {
    let pid = station.pid();
    // A process that another thread started is that thread's child.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let found = children.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let is_worker = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|word| word == b"token-worker"))
    };
    found.filter_map(|pid| pid.parse().ok()).filter(is_worker).collect()
}

fn worker_of(station: &Station) -> Option<u32> {
    workers_of(station).pop()
}

fn worker(station: &Station) -> u32 {
    wait_for("a process that holds the token", || worker_of(station))
}

fn signs(station: &Station) -> bool {
    station.sign("a-general", SignatureScheme::RsaPssSha256, &[7; 32]).is_ok()
}

pub(super) fn kill(pid: u32, signal: &str) {
    assert!(as_root("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn the_module_is_not_in_the_service_and_a_train_costs_what_it_costs_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let (log, launch) = SpyLog::on(directory.path().join("spy.log"), Station::with("a"));
    let station = launch.start_configured(|config| {
        set(config, "token", "isolation", "process");
        set(config, "token", "module", SpyLog::module());
        set(config, "token", "writable", vec![toml::Value::from("/tmp")]);
    });
    assert!(!has_softhsm(station.pid()), "the token is in the service's own process");
    assert!(has_softhsm(worker(&station)), "and in no other");
    costs_one_decryption_and_two_signatures(&station, &log);
}

#[test]
fn a_worker_process_that_is_killed_is_replaced_and_the_service_stays() {
    let station = isolated(|_| ());
    let (service, mut last) = (station.pid(), 0);
    for _ in 0..3 {
        let process = worker(&station);
        assert_ne!(process, last);
        last = process;
        kill(process, "-KILL");
        wait_for("a signature by a new process", || signs(&station).then_some(()));
    }
    assert_eq!(station.pid(), service);
    assert_ne!(worker(&station), last);
}

#[test]
fn a_module_that_crashes_or_hangs_in_a_signature_costs_that_call_only() {
    let directory = tempfile::tempdir().unwrap();
    let fault = FaultModule::create(&directory.path().join("fault"), &softhsm()).unwrap();
    let station = Station::with("a").env(VARIABLE, fault.directory().to_str().unwrap()).start_configured(|config| {
        set(config, "token", "isolation", "process");
        set(config, "token", "module", FaultModule::library().unwrap().to_str().unwrap());
        set(config, "token", "call_timeout_s", 1);
        set(config, "token", "sessions", 1);
        set(config, "token", "writable", vec![toml::Value::from("/tmp")]);
    });
    let service = station.pid();
    for rule in ["C_Sign 1 before crash", "C_Sign every before hang"] {
        let before = worker(&station);
        fault.set(rule).unwrap();
        let refused = station.sign("a-general", SignatureScheme::RsaPssSha256, &[7; 32]).unwrap_err();
        assert_eq!(refused.reason, "HSM_UNAVAILABLE", "{rule}");
        fault.set("").unwrap();
        wait_for("a signature", || signs(&station).then_some(()));
        // A call that hangs costs a worker thread, a crash the process.
        assert_eq!(worker(&station) == before, rule.contains("hang"), "{rule}");
    }
    assert_eq!(station.pid(), service);
}

#[test]
fn a_module_that_crashes_soon_after_each_start_is_started_after_growing_pauses() {
    let directory = tempfile::tempdir().unwrap();
    let fault = FaultModule::create(&directory.path().join("fault"), &softhsm()).unwrap();
    let mut station = Station::with("a").env(VARIABLE, fault.directory().to_str().unwrap()).start_configured(|config| {
        set(config, "token", "isolation", "process");
        set(config, "token", "module", FaultModule::library().unwrap().to_str().unwrap());
        set(config, "token", "sessions", 1);
        set(config, "token", "writable", vec![toml::Value::from("/tmp")]);
    });
    let signatures_of = |process: u32| {
        let journal = fault.journal().unwrap();
        journal.entries().iter().filter(|call| call.pid == process && call.end.is_none() && call.function == "C_Sign").count()
    };
    let initial = worker(&station);
    kill(initial, "-KILL");
    wait_for("a signature by a new process", || signs(&station).then_some(()));
    let second = worker(&station);
    // The trials at the start succeed, and the first call ends the process.
    let trials = signatures_of(second) - 1;
    assert!(trials > 0 && second != initial);
    fault.set(&format!("C_Sign {} before crash", trials + 1)).unwrap();
    // The processes that came as far as that call, with the times of their first and last calls.
    let crashed = || {
        let mut processes: Vec<(u32, usize, Duration, Duration)> = Vec::new();
        for call in fault.journal().unwrap().entries().iter().filter(|call| call.pid != initial) {
            if processes.last().is_none_or(|(pid, ..)| *pid != call.pid) {
                processes.push((call.pid, 0, call.time, call.time));
            }
            let (_, signatures, _, last) = processes.last_mut().unwrap();
            *signatures += usize::from(call.end.is_none() && call.function == "C_Sign");
            *last = call.time;
        }
        processes.into_iter().filter(|(_, signatures, ..)| *signatures > trials).collect::<Vec<_>>()
    };
    let starts = loop {
        let _ = signs(&station);
        thread::sleep(Duration::from_millis(50));
        let starts = crashed();
        if starts.len() > 4 {
            break starts;
        }
    };
    // The first pause, of 0.2 s, was after the process that the test killed.
    for (pair, pause) in starts.windows(2).zip([400, 800, 1600, 3200]) {
        let waited = pair[1].2.saturating_sub(pair[0].3);
        assert!(waited >= Duration::from_millis(pause), "started {waited:?} after the last one ended, not {pause} ms");
    }
    fault.clear().unwrap();
    wait_for("a signature", || signs(&station).then_some(()));
    station.stop();
    let records = fs::read_dir(station.state().join("audit/service")).unwrap().flatten();
    let text: String = records.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    let of_trials = text.lines().filter(|line| line.contains("\"keys-tried\"")).count();
    assert!(of_trials > 0 && of_trials <= (starts.len() + 3) * trials, "{of_trials} records for {} starts", starts.len());
}

#[test]
fn a_worker_process_that_hangs_is_replaced() {
    let station = isolated(|config| set(config, "token", "call_timeout_s", 1));
    let hung = worker(&station);
    kill(hung, "-STOP");
    wait_for("another process", || worker_of(&station).filter(|process| *process != hung));
    wait_for("a signature", || signs(&station).then_some(()));
}

#[test]
fn the_workers_sandbox_keeps_it_from_other_files_and_programs() {
    let station = isolated(|_| ());
    let process = worker(&station);
    let status = as_root("cat").arg(format!("/proc/{process}/status")).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned);
    assert_eq!(field("Seccomp:").as_deref(), Some("2"), "no filter of system calls\n{status}");
    assert_eq!(field("NoNewPrivs:").as_deref(), Some("1"), "{status}");
    // The service's own process is not restricted by it.
    let own = fs::read_to_string(format!("/proc/{}/status", station.pid())).unwrap();
    assert!(own.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('0')), "{own}");
}

#[test]
fn a_signal_to_all_processes_ends_the_service_in_order() {
    let mut station = isolated(|_| ());
    let process = worker(&station);
    // As a service manager does.
    kill(process, "-TERM");
    kill(process, "-INT");
    assert!(signs(&station));
    assert_eq!(worker(&station), process, "the signal ended it");
    station.stop();
    let records = fs::read_dir(station.state().join("audit/service")).unwrap().flatten();
    let text: String = records.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    let last = text.lines().rfind(|line| line.contains("checkpoint")).unwrap_or_default();
    assert!(last.contains("\"ok\""), "the last checkpoint was not signed: {last}");
}

#[test]
fn the_worker_may_write_to_its_own_part_of_the_state_only() {
    let station = isolated(|_| ());
    let process = worker(&station);
    let open = as_root("ls").args(["-l", &format!("/proc/{process}/fd")]).output().unwrap();
    let open = String::from_utf8(open.stdout).unwrap();
    assert!(!open.contains("ledger") && !open.contains("audit"), "it has files of the service: {open}");
    assert!(!station.state().join("pin-latch").exists());
    assert!(station.state().join("tokens").is_dir(), "its latch has no directory of its own");
}

#[test]
fn the_worker_process_ends_with_the_service_however_that_ends() {
    let mut station = isolated(|_| ());
    let process = worker(&station);
    station.stop();
    assert!(!fs::exists(format!("/proc/{process}")).unwrap(), "it outlives an orderly end");
    station.start_again();
    let process = worker(&station);
    station.kill();
    let ended = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(100));
        !fs::exists(format!("/proc/{process}")).unwrap()
    });
    assert!(ended, "it outlives a killed service");
}

#[test]
fn the_pin_of_a_file_is_in_the_workers_memory_only() {
    let station = isolated(|_| ());
    assert!(signs(&station));
    let pin = station.pin();
    let command = Command::new(env!("CARGO_BIN_EXE_stationmaster")).arg("token-worker").output().unwrap();
    assert_eq!(command.status.code(), Some(2), "the command is no service by itself: {command:?}");
    let found = search(station.pid(), [("PIN", pin.as_bytes())]);
    assert!(found.bytes > 1 << 20 && found.hits.is_empty(), "the PIN is in the memory of the service: {:?}", found.hits);
}
