//! Where our own time goes.

use super::table;
use crate::{
    modes::{MODES, Passes, ours},
    options::Part,
    record::{Cost, Record, Speeds},
    statistics::median,
    steps::{POST, PRE},
};

/// What the table means.
pub const ABOUT: &str = "\
### Breakdown of stationmaster's time

In milliseconds, medians.

* *Wall* is the time that the client waits; *client* is the part outside the call (its start, its connection).
* *Service* is the processor time of the service during the call. The five columns after it add up to it. Hash, cipher and token
  are calculated from the speed of each in the same run on this machine (bytes by SHA-512, SHA-256 and AES-CBC in the passes of a
  step, operations by the bare token). *Kernel* is the kernel's time for the service (sockets, the spool, memory), *other* the
  rest.
* *Waiting* is the call's time minus the service's processor time: the engine (less if the service uses two cores at once).
* *Engine* is the processor time of the engine's daemon.
";

/// The account of every size and way.
pub fn table_of(record: &Record) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for case in &record.cases[&Part::Trains] {
        let Some(speeds) = &case.speeds else { continue };
        for mode in MODES {
            for (step, passes) in [PRE, POST].into_iter().zip(mode.passes) {
                let costs = case.costs(&ours(mode), step);
                let ms = |value: &dyn Fn(&Cost) -> f64| median(&costs.iter().map(value).collect::<Vec<_>>()) * 1e3;
                let (hash, cipher, token) = reckoned(case.bytes as f64, passes, speeds);
                let (user, system) = (ms(&|cost| cost.user), ms(&|cost| cost.system));
                let call = ms(&|cost| cost.call.unwrap_or(cost.wall));
                let cells = [
                    ms(&|cost| cost.wall),
                    ms(&|cost| cost.wall - cost.call.unwrap_or(cost.wall)),
                    user + system,
                    hash,
                    cipher,
                    token,
                    system,
                    user - hash - cipher - token,
                    call - user - system,
                    ms(&|cost| cost.engine.unwrap_or(f64::NAN)),
                ];
                let names = [case.name.clone(), mode.name.to_owned(), step.to_owned()];
                let whole = |value: &f64| if value.is_finite() { format!("{value:.0}") } else { "–".into() };
                rows.push(names.into_iter().chain(cells.iter().map(whole)).collect());
            }
        }
    }
    rows
}

/// As a table.
pub fn table(record: &Record) -> String {
    let head = [
        "results", "into", "step", "wall", "client", "service", "hash", "cipher", "token", "kernel", "other", "waiting", "engine",
    ];
    table::table(&head, &table_of(record))
}

/// Milliseconds of hash, cipher and token.
fn reckoned(bytes: f64, passes: Passes, speeds: &Speeds) -> (f64, f64, f64) {
    let hash = bytes * (passes.hashes[0] / speeds.sha512 + passes.hashes[1] / speeds.sha256);
    let cipher = bytes * (passes.ciphers[0] / speeds.seal + passes.ciphers[1] / speeds.open);
    let token = passes.token[0] * speeds.sign + passes.token[1] * speeds.decrypt;
    (hash * 1e3, cipher * 1e3, token * 1e3)
}
