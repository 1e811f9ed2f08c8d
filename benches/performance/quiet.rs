//! Waiting for a machine that has nothing else to do, for a while.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Share of all cores that may be busy with other things.
const BUSY: f64 = 0.1;
/// How long is looked at a time.
const LOOK: Duration = Duration::from_millis(300);

/// Waits until the machine is quiet, at most so many seconds. It is no error when it never is: who is compared takes turns.
pub fn wait(seconds: f64) {
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds && busy() > BUSY {}
}

/// Share of all cores that were busy while we looked.
fn busy() -> f64 {
    let before = ticks();
    std::thread::sleep(LOOK);
    let after = ticks();
    let all = after.0 - before.0;
    if all > 0.0 { 1.0 - (after.1 - before.1) / all } else { 0.0 }
}

/// Ticks of all cores so far, and those of them that were idle.
fn ticks() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<f64> =
        text.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    let at = |index: usize| fields.get(index).copied().unwrap_or(0.0);
    // Guests' ticks are counted among the users' already.
    (fields.iter().take(8).sum(), at(3) + at(4))
}
