//! `sign` and `unwrap` against the bare token.

use crate::{
    bare::{self, Operation},
    options::Options,
    record::{KeySeries, Rate},
    served::{self, Request},
    support::{Station, set},
};

/// Callers at once.
pub const CALLERS: [usize; 3] = [1, 8, 64];

/// Measures both operations, the bare token and the service in turn. The key is RSA-2048.
pub fn measure(options: &Options) -> Vec<KeySeries> {
    let station = Station::start("a");
    let key = "a-general";
    let sessions = std::thread::available_parallelism().map_or(1, usize::from);
    // The same with the token's module in a process of its own.
    let isolated = Station::with("a").start_configured(|config| set(config, "token", "isolation", "process"));
    let mut channels = served::WAYS.map(|way| (way, &station, served::connect(&station, way))).to_vec();
    channels.push((served::ISOLATED, &isolated, served::connect(&isolated, "unix")));
    let mut all: Vec<KeySeries> = Vec::new();
    let mut add = |operation: Operation, way: &str, callers: usize, rate: Rate| {
        let same = |one: &&mut KeySeries| one.operation == operation.name() && one.way == way && one.callers == callers;
        match all.iter_mut().find(same) {
            Some(series) => series.rounds.push(rate),
            None => {
                all.push(KeySeries { operation: operation.name().into(), way: way.into(), callers, rounds: vec![rate] });
            }
        }
    };
    let seconds = options.key_seconds();
    for round in 0..options.key_rounds() {
        eprintln!("keys, round {}", round + 1);
        options.wait_for_quiet();
        for operation in [Operation::Sign, Operation::Unwrap] {
            // Each station has keys of its own.
            let requests = [&station, &isolated].map(|of| Request::new(of, key, operation));
            // As many threads as the service has sessions, and one alone.
            for threads in if sessions > 1 { vec![1, sessions] } else { vec![1] } {
                add(operation, "bare", threads, bare::measure(&station, key, operation, threads, seconds));
            }
            for callers in CALLERS {
                for (way, of, channel) in &channels {
                    let request = &requests[usize::from(*way == served::ISOLATED)];
                    add(operation, way, callers, served::measure(of, channel, request, callers, seconds));
                }
            }
        }
    }
    all
}
