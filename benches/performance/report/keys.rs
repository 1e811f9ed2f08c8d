//! `sign` and `unwrap` beside the bare token.

use super::table::{self, figure, ratios};
use crate::record::{KeySeries, Rate, Record};

/// What the table means.
pub const ABOUT: &str = "\
## Keys

RSA-2048 in SoftHSM, and RSA-3072 where it is said: `Sign` with RSA-PSS and SHA-512 (the service verifies each signature before it
returns it), and `UnwrapKey` with RSA-OAEP and SHA-512. *bare* is `C_Sign`, and `C_Decrypt` with raw RSA, in a loop in a separate process, with a session for
each thread: one, and as many as the service has sessions. All callers share one connection, and the two cores with the service.
Processor time is that of the process that uses the token.
";

/// Bare figures with one thread, or with as many as the service has sessions.
pub fn bare<'a>(record: &'a Record, operation: &str, alone: bool) -> Option<&'a KeySeries> {
    let all = record.keys.iter().filter(|one| one.operation == operation && one.way == "bare");
    if alone { all.min_by_key(|one| one.callers) } else { all.max_by_key(|one| one.callers) }
}

/// What a series holds, by round.
pub fn of(series: &KeySeries, value: impl Fn(&Rate) -> f64) -> Vec<f64> {
    series.rounds.iter().map(value).collect()
}

/// Everything measured.
pub fn table_of(record: &Record) -> Vec<Vec<String>> {
    let row = |one: &KeySeries| {
        let cpu = of(one, |rate| rate.cpu_us);
        let ratio = match bare(record, &one.operation, one.callers == 1) {
            Some(bare) if one.way != "bare" => figure(&ratios(&cpu, &of(bare, |rate| rate.cpu_us))),
            _ => String::new(),
        };
        vec![
            one.operation.clone(),
            one.way.clone(),
            one.callers.to_string(),
            figure(&of(one, |rate| rate.per_second)),
            figure(&of(one, |rate| rate.p50_ms)),
            figure(&of(one, |rate| rate.p99_ms)),
            figure(&cpu),
            ratio,
            figure(&of(one, |rate| 1e6 / rate.cpu_us)),
        ]
    };
    let mut sorted: Vec<&KeySeries> = record.keys.iter().collect();
    sorted.sort_by_key(|one| (one.operation.clone(), one.way.clone(), one.callers));
    sorted.into_iter().map(row).collect()
}

/// As a table.
pub fn table(record: &Record) -> String {
    let head = ["", "way", "callers", "per second", "p50, ms", "p99, ms", "CPU each, µs", "of bare", "per second of CPU"];
    table::table(&head, &table_of(record))
}
