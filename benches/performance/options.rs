//! The command line.

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::{payload::Payload, quiet};

/// Measures stationmaster beside train_lib, the engine and the bare token, and writes docs/performance.md.
#[derive(Debug, Parser)]
#[command(name = "performance")]
pub struct Options {
    /// Tiny sizes and one round, to see that everything works; writes nothing
    #[arg(long)]
    pub short: bool,
    /// These parts only
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Rounds of each case (default: more for small trains than for large)
    #[arg(long)]
    rounds: Option<usize>,
    /// Sizes of the results: 1MB, 100MB, 1GB, 10000x10kB, …
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Payload>,
    /// Before each round, wait at most so many seconds until the machine has nothing else to do
    #[arg(long, default_value_t = 10.0)]
    quiet: f64,
    /// Measure nothing; make the report again from docs/performance.json
    #[arg(long)]
    pub report: bool,
    /// For the bench itself: use a token directly, as told on standard input
    #[arg(long, hide = true)]
    pub bare: bool,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// `sign` and `unwrap` against the bare token.
    Keys,
    /// Pre-run and post-run against train_lib and the engine.
    Trains,
    /// `hash` against the engine's own export.
    Images,
    /// Many files, and several trains at once.
    Flat,
    /// `hash` and `image validate` of a large image that is no train's alone.
    Large,
}

impl Options {
    /// Whether a part was asked for.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// The sizes to measure.
    pub fn sizes(&self) -> Vec<Payload> {
        let sizes = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a size")).collect();
        if !self.sizes.is_empty() {
            self.sizes.clone()
        } else if self.short {
            sizes(&["100kB", "50x1kB"])
        } else {
            sizes(&["1MB", "100MB", "1GB", "10000x10kB"])
        }
    }

    /// Number of rounds for a train of this size.
    pub fn rounds(&self, payload: Payload) -> usize {
        let usual = match payload.bytes() {
            0..10_000_000 => 9,
            10_000_000..200_000_000 if payload.files < 1000 => 5,
            _ => 3,
        };
        self.rounds.unwrap_or(if self.short { 1 } else { usual })
    }

    /// Rounds of the large image.
    pub fn large_rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.short { 1 } else { 3 })
    }

    /// Rounds of the token's part.
    pub fn key_rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.short { 1 } else { 15 })
    }

    /// Seconds of each measurement of operations: short, and many rounds, so that what disturbs them disturbs all alike.
    pub fn key_seconds(&self) -> f64 {
        if self.short { 0.1 } else { 0.5 }
    }

    /// Waits for a quiet machine, as long as was asked for.
    pub fn wait_for_quiet(&self) {
        if !self.short {
            quiet::wait(self.quiet);
        }
    }
}
