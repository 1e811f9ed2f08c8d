//! The station at the second stop. Its key is known twice: to train_lib as a PEM file, to our service in its token.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use openssl::rsa::Rsa;
use serde_json::Value;
use stationmaster::trust::Master;

use crate::{
    bare,
    engine::Engine,
    process::{self, Cpu, Ended},
    record::Cost,
    sealed::Sealed,
    support::{Seat, Station},
};

/// The program that is measured.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_stationmaster");
/// Its id on the route.
const ID: &str = "b";
/// The label of the key that both know.
pub const KEY: &str = "b-known-twice";

/// The station.
pub struct Second {
    station: Station,
    key: PathBuf,
    idle_kib: u64,
    engine: Engine,
}

impl Second {
    /// Makes it, and serves.
    pub fn start() -> Self {
        Self::set_up(None)
    }

    /// One that trusts only this master.
    pub fn allowing(master: Master) -> Self {
        Self::set_up(Some(master))
    }

    fn set_up(master: Option<Master>) -> Self {
        let mut station = Station::start(ID);
        station.stop();
        let key = station.state().join("key.pem");
        let pem = Rsa::generate(2048).and_then(openssl::pkey::PKey::from_rsa).and_then(|key| key.private_key_to_pem_pkcs8());
        fs::write(&key, pem.expect("a key")).expect("a file");
        let pin = station.pin();
        process::run(
            Command::new("softhsm2-util").env("SOFTHSM2_CONF", station.softhsm_conf()).arg("--import").arg(&key).args([
                "--token",
                bare::TOKEN,
                "--label",
                KEY,
                "--id",
                "b0b0",
                "--pin",
                &pin,
            ]),
        );
        let runs = toml::Value::from(station.state().join("runs").to_str().expect("a path in UTF-8"));
        let is_pinned = master.is_some();
        if let Some(master) = master {
            station.edit_trust(|store| store.add_master(master).expect("the first"));
        }
        station.configure(|config| {
            if is_pinned {
                config.remove("trust");
            }
            config.insert("runs".into(), toml::Table::from_iter([("directory".to_owned(), runs)]).into());
            // Four at once of one principal, which has three quarters of the places.
            let limits = config.entry("limits").or_insert_with(|| toml::Table::new().into());
            limits.as_table_mut().expect("a section").insert("runs".into(), 6.into());
            let keys = config["keys"].as_table_mut().expect("a section");
            keys.insert("train".into(), vec![toml::Value::from(KEY)].into());
        });
        station.start_again();
        let idle_kib = station.memory_kib("VmRSS");
        Self { station, key, idle_kib, engine: Engine::connect() }
    }

    /// Its place on the route.
    pub fn seat(&self) -> Seat {
        Seat { id: ID.into(), hex_pem: self.station.key(KEY).expect("the key").public_key_hex_pem }
    }

    /// Lets the service forget all runs: it would refuse to open the same stop of the same train again. It then is one that
    /// has worked before, though not on this train: the first call of a process costs tens of milliseconds more.
    pub fn forget(&mut self, sealed: &Sealed) {
        self.start_anew();
        self.ours(&["train", "inspect", sealed.image()]);
        self.ours(&["hash", &sealed.train.base]);
    }

    /// Lets it serve as one that never had a run, and has done nothing yet.
    pub fn start_anew(&mut self) {
        self.station.stop();
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(self.station.state().join(format!("ledger.sqlite{suffix}")));
        }
        // A service does not begin a ledger anew unasked.
        let mut accepted = Command::new(PROGRAM);
        accepted.args(["state", "accept-loss", "ledger", "--reason", "a measurement begins anew", "--state"]);
        let done = accepted.arg(self.station.state()).output().expect("the program");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        self.station.start_again();
        self.idle_kib = self.station.memory_kib("VmRSS");
    }

    /// The service's process and token, for those who measure the token itself.
    pub fn station(&self) -> &Station {
        &self.station
    }

    /// A step of ours: the command line, as a fresh process, against the running service.
    pub fn ours(&self, arguments: &[&str]) -> (Cost, Value) {
        let (mut costs, mut answers) = self.measured(|| vec![process::run(&mut self.command(arguments))]);
        (costs.remove(0), answers.remove(0))
    }

    /// Several steps of ours at once, each a process; the cost of all together, and each one's answer.
    pub fn ours_at_once(&self, commands: &[Vec<&str>]) -> (Cost, Vec<Value>) {
        let begun = Instant::now();
        let (costs, answers) = self.measured(|| {
            std::thread::scope(|scope| {
                let all: Vec<_> = commands.iter().map(|one| scope.spawn(|| process::run(&mut self.command(one)))).collect();
                all.into_iter().map(|one| one.join().expect("it ended well")).collect()
            })
        });
        (Cost { wall: begun.elapsed().as_secs_f64(), call: None, ..costs[0] }, answers)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .args(["--output", "json"])
            .arg("--address")
            .arg(format!("unix://{}", self.station.socket().display()));
        command
    }

    /// What the service needed while clients ran: the same in each cost, but for what the clients needed themselves.
    fn measured(&self, run: impl FnOnce() -> Vec<Ended>) -> (Vec<Cost>, Vec<Value>) {
        let pid = self.station.pid();
        let cpu = || Cpu::of_process(pid).expect("the service");
        process::reset_peak(pid);
        let (logged, engine, before) = (self.station.log().len(), self.engine.cpu(), cpu());
        let ended = run();
        let (used, engine_after) = (cpu().since(before), self.engine.cpu());
        let peak_kib = self.station.memory_kib("VmHWM").saturating_sub(self.idle_kib);
        let call = call_ms(&self.station.log()[logged..]);
        let cost = |ended: &Ended| Cost {
            wall: ended.wall,
            call: call.map(|ms| ms / 1e3),
            user: used.user,
            system: used.system,
            client: ended.cpu.all(),
            engine: engine_after.zip(engine).map(|(after, before)| after - before),
            peak_mib: Some(peak_kib as f64 / 1024.0),
        };
        let answer = |ended: &Ended| serde_json::from_str(ended.output.lines().last().unwrap_or_default()).expect("JSON");
        (ended.iter().map(cost).collect(), ended.iter().map(answer).collect())
    }

    /// A step of train_lib with the same key, as a fresh process.
    pub fn train_lib(&self, step: &str, image: &str) -> Cost {
        let python = std::env::var_os("STATIONMASTER_PEER_205").unwrap_or_else(|| {
            panic!("STATIONMASTER_PEER_205 names no Python with train_lib: run `make bench`, which makes one")
        });
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let engine = self.engine.cpu();
        let ended = process::run(
            Command::new(python)
                // pip has compiled what it imports; the script itself is never kept compiled.
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .arg(root.join("tests/peer/timed.py"))
                .args([step, ID])
                .arg(&self.key)
                .arg(image)
                .arg(self.station.state().join("train_lib.config.json")),
        );
        Cost {
            wall: ended.wall,
            user: ended.cpu.user,
            system: ended.cpu.system,
            engine: self.engine.cpu().zip(engine).map(|(after, before)| after - before),
            peak_mib: Some(ended.peak_mib),
            ..Cost::default()
        }
    }
}

/// What the service says its last call took, in milliseconds.
fn call_ms(log: &str) -> Option<f64> {
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "rpc").find_map(|line| line["ms"].as_f64())
}
