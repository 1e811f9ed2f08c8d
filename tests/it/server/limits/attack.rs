//! One attack: the state of the service during it and afterwards.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use prost::Message;
use serde_json::Value;
use stationmaster_proto as pb;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};

use super::honest::{Honest, until};
use crate::support::{Peer, Station, Train, set, wait_for};

/// No attack may cost more than this above the idle level, in KiB.
const BOUND_KIB: u64 = 64 * 1024;

/// An attack of `tests/peer/flood.py`.
pub struct Attack {
    name: &'static str,
    target: Target,
    no_handshake: bool,
    comes_in: ComesIn,
    closes: Option<u64>,
    answers: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Sign,
    Hash,
    Reflection,
}

/// What becomes of an honest caller's new connection on the attacked transport.
#[derive(Clone, Copy)]
enum ComesIn {
    AtOnce,
    AtLast,
}

impl Attack {
    /// On `Sign`.
    pub fn of(name: &'static str) -> Self {
        Self { name, target: Target::Sign, no_handshake: false, comes_in: ComesIn::AtOnce, closes: None, answers: None }
    }

    /// On `HashImage`, which streams progress.
    pub fn hashing(mut self) -> Self {
        self.target = Target::Hash;
        self
    }

    /// On reflection, which answers much.
    pub fn reflecting(mut self) -> Self {
        self.target = Target::Reflection;
        self
    }

    /// By a client without a certificate, which ends before the handshake.
    pub fn without_handshake(mut self) -> Self {
        self.no_handshake = true;
        self
    }

    /// It crowds out handshakes or new connections of others, who try again.
    pub fn crowds(mut self) -> Self {
        self.comes_in = ComesIn::AtLast;
        self
    }

    /// The service must have closed this many connections.
    pub fn closes(mut self, connections: u64) -> Self {
        self.closes = Some(connections);
        self
    }

    /// Every request must be answered with this gRPC status.
    pub fn answers(mut self, status: &'static str) -> Self {
        self.answers = Some(status);
        self
    }

    #[track_caller]
    pub fn over_both(self) {
        let station = attacked_station();
        self.over(&station, false);
        self.over(&station, true);
    }

    #[track_caller]
    pub fn over_tcp(self) {
        self.over(&attacked_station(), true);
    }

    #[track_caller]
    fn over(&self, station: &Station, tcp: bool) {
        let honest = Honest::client(station, tcp);
        let elsewhere = Honest::client(station, !tcp);
        let train = (self.target == Target::Hash).then(|| Train::of(&[station.seat()]).make());
        let arguments = self.arguments(station, tcp, train.as_ref());
        // What a first use makes for good (threads, caches) is not the attack's.
        let held = honest.connection();
        let quiet: Vec<Duration> = (0..50).map(|_| honest.sign(&held).max(elsewhere.sign(&elsewhere.connection()))).collect();
        let files = wait_for_quiet(station);
        let idle = station.memory_kib("VmRSS");

        // Before the callers: without a peer they would call for ever.
        let peer = Peer::new("2.0.5");
        let (over, peak) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(idle));
        let (answer, old, new, other) = std::thread::scope(|scope| {
            let old = scope.spawn(|| until(&over, || honest.sign(&held)));
            let new = scope.spawn(|| match self.comes_in {
                ComesIn::AtOnce => until(&over, || honest.sign(&honest.connection())),
                ComesIn::AtLast => until(&over, || honest.sign_at_last()),
            });
            let other = scope.spawn(|| until(&over, || elsewhere.sign(&elsewhere.connection())));
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    peak.fetch_max(station.memory_kib("VmRSS"), Ordering::AcqRel);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let answer = peer.script("flood.py", arguments);
            over.store(true, Ordering::Release);
            (answer, old.join().unwrap(), new.join().unwrap(), other.join().unwrap())
        });
        let answer = answer.unwrap_or_else(|error| panic!("{}: {error:?}", self.name));
        let peak = peak.into_inner();
        eprintln!(
            "limits: | {} | {} | {} | {} → {} MiB | {} | {} | {} | {} |",
            self.name,
            if tcp { "TCP" } else { "Unix" },
            summary(&answer),
            idle >> 10,
            peak >> 10,
            shown(quiet),
            shown(old),
            shown(new),
            shown(other),
        );
        self.judge(&answer);
        assert!(peak - idle <= BOUND_KIB, "{} KiB above the idle level", peak - idle);
        honest.sign(&held);
        honest.sign_at_last();
        wait_for("the attack's files to be closed", || (station.open_files() <= files).then_some(()));
        assert_eq!(station.health().ok().as_deref(), Some("SERVING"));
    }

    fn arguments(&self, station: &Station, tcp: bool, train: Option<&Train>) -> Vec<String> {
        let target = if tcp {
            tcp_address(station).trim_start_matches("https://").to_owned()
        } else {
            format!("unix:{}", station.socket().display())
        };
        let (path, message) = match self.target {
            Target::Sign => ("/stationmaster.v1.KeyService/Sign", Vec::new()),
            Target::Hash => {
                let image = train.expect("a train").image.clone();
                ("/stationmaster.v1.ImageService/HashImage", pb::HashImageRequest { image, train_only: false }.encode_to_vec())
            }
            Target::Reflection => {
                let asked = MessageRequest::FileContainingSymbol("stationmaster.v1.TrainService".into());
                let request = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
                ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", request.encode_to_vec())
            }
        };
        let mut arguments = vec![self.name.to_owned(), "--target".into(), target, "--path".into(), path.into()];
        arguments.extend(["--message".into(), const_hex::encode(message)]);
        if tcp {
            for (option, file) in [("--ca", "ca.pem"), ("--cert", "client.pem"), ("--key", "client.key")] {
                let file = station.state().join("pki").join(file);
                arguments.extend([option.to_owned(), file.to_str().expect("UTF-8").to_owned()]);
            }
        }
        arguments.extend(self.no_handshake.then(|| "--no-handshake".to_owned()));
        arguments
    }

    #[track_caller]
    fn judge(&self, answer: &Value) {
        if let Some(connections) = self.closes {
            assert_eq!(answer["closed"].as_u64(), Some(connections), "{answer}");
        }
        if let Some(status) = self.answers {
            assert_eq!(answer["statuses"][status], answer["sent"], "{answer}");
        }
    }
}

/// A station with both listeners, whose patience ends while a test waits.
#[track_caller]
fn attacked_station() -> Station {
    Station::with("a").start_configured(|config| {
        set(config, "limits", "silence_s", 2);
        set(config, "limits", "stall_s", 3);
        set(config, "listen", "reflection", true);
        crate::support::listen_on_tcp(config);
    })
}

/// Where it listens on TCP: its log tells the port.
pub fn tcp_address(station: &Station) -> String {
    let log = station.log();
    let at = log.rfind("https://127.0.0.1:").expect("a TCP address in the log");
    log[at..].split(['"', ' ', '\n']).next().expect("a word").to_owned()
}

/// The number of open files, once it stays the same.
fn wait_for_quiet(station: &Station) -> u64 {
    let mut before = 0;
    wait_for("no file to be opened or closed", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = station.open_files();
        (std::mem::replace(&mut before, now) == now).then_some(now)
    })
}

fn summary(answer: &Value) -> String {
    let counts = answer.as_object().expect("an object").iter().filter(|(_, value)| **value != 0);
    counts.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

/// Median and longest.
fn shown(mut took: Vec<Duration>) -> String {
    took.sort();
    let ms = |duration: &Duration| format!("{:.1}", duration.as_secs_f64() * 1e3);
    match took.as_slice() {
        [] => "–".into(),
        [.., last] => format!("{} / {} ms ({})", ms(&took[took.len() / 2]), ms(last), took.len()),
    }
}
