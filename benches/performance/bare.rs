//! The token itself: `C_Sign` and `C_Decrypt` in a loop, in a process of its own (SoftHSM finds its token through the
//! environment), which is this program again.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::{
        Mechanism, MechanismType,
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::{Attribute, ObjectClass},
    session::{Session, UserType},
    types::AuthPin,
};
use serde::{Deserialize, Serialize};
use stationmaster_keystore::softhsm;

use crate::{process::Cpu, record::Rate, statistics::quantile, support::Station};

/// The label of a development station's token.
pub const TOKEN: &str = "stationmaster-dev";

/// What is asked of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// A signature, RSA-PSS with SHA-512.
    Sign,
    /// A decryption: raw RSA, which is all that SoftHSM does for RSA-OAEP with SHA-512.
    Unwrap,
}

impl Operation {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Unwrap => "unwrap",
        }
    }
}

/// What the other process is told.
#[derive(Serialize, Deserialize)]
struct Order {
    module: PathBuf,
    pin: String,
    key: String,
    operation: Operation,
    threads: usize,
    seconds: f64,
}

/// The bare rate of a station's token, with so many threads and a session for each.
pub fn measure(station: &Station, key: &str, operation: Operation, threads: usize, seconds: f64) -> Rate {
    let module = softhsm::find_module().expect("SoftHSM's module: run `make bench`, which installs it");
    let order = Order { module, pin: station.pin(), key: key.into(), operation, threads, seconds };
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg("--bare")
        .env(softhsm::CONF_VARIABLE, station.softhsm_conf())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(&serde_json::to_vec(&order).expect("plain values")).expect("its input");
    drop(input);
    let done = child.wait_with_output().expect("its end");
    assert!(done.status.success(), "the token's own process failed");
    serde_json::from_slice(&done.stdout).expect("a rate")
}

/// The other process: reads an order, uses the token, writes a rate.
pub fn answer() {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).expect("an order");
    let order: Order = serde_json::from_slice(&text).expect("an order");
    let token = Pkcs11::new(&order.module).expect("a module");
    token.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("a module");
    let slot = token.get_slots_with_initialized_token().expect("slots")[0];
    let sessions: Vec<Session> = (0..order.threads).map(|_| token.open_ro_session(slot).expect("a session")).collect();
    sessions[0].login(UserType::User, Some(&AuthPin::new(order.pin.clone().into()))).expect("the PIN");
    work(&sessions, &order, Duration::from_secs_f64(order.seconds / 8.0));
    let (begun, before) = (Instant::now(), Cpu::own());
    let mut latencies = work(&sessions, &order, Duration::from_secs_f64(order.seconds));
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), Cpu::own().since(before));
    println!("{}", serde_json::to_string(&rate(&mut latencies, elapsed, cpu)).expect("plain values"));
}

/// What so many operations, each of so many milliseconds, amount to.
pub fn rate(latencies: &mut [f64], elapsed: f64, cpu: Cpu) -> Rate {
    latencies.sort_by(f64::total_cmp);
    let count = latencies.len() as f64;
    Rate {
        per_second: count / elapsed,
        p50_ms: quantile(latencies, 0.5),
        p99_ms: quantile(latencies, 0.99),
        cpu_us: cpu.all() / count * 1e6,
    }
}

/// Uses the key for so long in every session at once; answers each operation's milliseconds.
fn work(sessions: &[Session], order: &Order, patience: Duration) -> Vec<f64> {
    let one = |session: &Session| {
        let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(order.key.clone().into())];
        let key = session.find_objects(&template).expect("the key")[0];
        let pss = PkcsPssParams { hash_alg: MechanismType::SHA512, mgf: PkcsMgfType::MGF1_SHA512, s_len: 64.into() };
        let (mut latencies, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < patience {
            let started = Instant::now();
            match order.operation {
                Operation::Sign => session.sign(&Mechanism::RsaPkcsPss(pss), key, &[0x5a; 64]),
                // Any number below the modulus will do.
                Operation::Unwrap => session.decrypt(&Mechanism::RsaX509, key, &[0x5a; 256]),
            }
            .expect("the token");
            latencies.push(started.elapsed().as_secs_f64() * 1e3);
        }
        latencies
    };
    std::thread::scope(|scope| {
        // A session belongs to one thread at a time, so it is lent out whole.
        let all: Vec<_> = sessions.iter().map(Lent).map(|lent| scope.spawn(move || one(lent.session()))).collect();
        all.into_iter().flat_map(|one| one.join().expect("a thread")).collect()
    })
}

/// A session lent to one thread.
struct Lent<'a>(&'a Session);

// SAFETY: `Session` is `Send` and not `Sync`; each is lent once, and its owner waits until the thread has ended.
unsafe impl Send for Lent<'_> {}

impl<'a> Lent<'a> {
    fn session(self) -> &'a Session {
        self.0
    }
}
