//! `sign` and `unwrap` against the bare token.

use tonic::transport::Channel;

use crate::{
    bare::{self, Operation},
    options::Options,
    record::{KeySeries, Rate},
    served::{self, Request},
    support::{Station, set},
};

/// Callers at once.
pub const CALLERS: [usize; 3] = [1, 8, 64];

/// Name of the operation with a key of the default size; other operations use RSA-2048.
pub const SIGN_3072: &str = "sign, RSA-3072";

/// An operation, the station of the bare token, its key, and the ways to the service.
struct Case<'a> {
    name: &'static str,
    key: &'static str,
    operation: Operation,
    station: &'a Station,
    ways: Vec<(&'static str, &'a Station, Channel)>,
}

/// Measures the operations, the bare token and the service in turn.
pub fn measure(options: &Options) -> Vec<KeySeries> {
    let station = Station::start("a");
    // The same with the token's module in a process of its own.
    let isolated = Station::with("a").start_configured(|config| set(config, "token", "isolation", "process"));
    // The general key of a development station is RSA-2048, whatever size its train key has.
    let larger = Station::with("a").bits(3072).start_configured(|config| set(config, "keys", "raw_use", vec!["a"]));
    let case = |operation: Operation| {
        let mut ways = served::WAYS.map(|way| (way, &station, served::connect(&station, way))).to_vec();
        ways.push((served::ISOLATED, &isolated, served::connect(&isolated, "unix")));
        Case { name: operation.name(), key: "a-general", operation, station: &station, ways }
    };
    // A configured station has no certificates for its clients.
    let ways = vec![("unix", &larger, served::connect(&larger, "unix"))];
    let large = Case { name: SIGN_3072, key: "a", operation: Operation::Sign, station: &larger, ways };
    let cases = [case(Operation::Sign), large, case(Operation::Unwrap)];
    let mut all = Vec::new();
    for round in 0..options.key_rounds() {
        eprintln!("keys, round {}", round + 1);
        options.wait_for_quiet();
        for case in &cases {
            case.measure(&mut all, options.key_seconds());
        }
    }
    all
}

impl Case<'_> {
    fn measure(&self, all: &mut Vec<KeySeries>, seconds: f64) {
        let mut add = |way: &str, callers: usize, rate: Rate| {
            let same = |one: &&mut KeySeries| one.operation == self.name && one.way == way && one.callers == callers;
            match all.iter_mut().find(same) {
                Some(series) => series.rounds.push(rate),
                None => all.push(KeySeries { operation: self.name.into(), way: way.into(), callers, rounds: vec![rate] }),
            }
        };
        // As many threads as the service has sessions, and one alone.
        let sessions = std::thread::available_parallelism().map_or(1, usize::from);
        for threads in if sessions > 1 { vec![1, sessions] } else { vec![1] } {
            add("bare", threads, bare::measure(self.station, self.key, self.operation, threads, seconds));
        }
        // Each station has keys of its own.
        let requests: Vec<_> = self.ways.iter().map(|(_, of, _)| Request::new(of, self.key, self.operation)).collect();
        for callers in CALLERS {
            for ((way, of, channel), request) in self.ways.iter().zip(&requests) {
                add(way, callers, served::measure(of, channel, request, callers, seconds));
            }
        }
    }
}
