//! Results as they are kept between runs: `docs/performance.json`, beside the page that is made of them, so that a part can be measured
//! again on another machine.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{machine::Circumstances, options::Part};

/// All results, by part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// Where and when each part was measured.
    pub parts: BTreeMap<Part, Circumstances>,
    /// Of [`Part::Trains`], [`Part::Images`], [`Part::Flat`] and [`Part::Large`].
    pub cases: BTreeMap<Part, Vec<Case>>,
    /// Of [`Part::Keys`].
    pub keys: Vec<KeySeries>,
    /// Of `benches/pure`.
    #[serde(default)]
    pub pure: Vec<Pure>,
}

/// What Criterion says of one pure part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pure {
    /// Its name.
    pub name: String,
    /// The median.
    pub nanoseconds: f64,
    /// Bytes that went through.
    pub bytes: Option<f64>,
}

/// One size, and the cost of each way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// What was measured.
    pub name: String,
    /// Bytes of results.
    pub bytes: u64,
    /// Their number.
    pub files: u64,
    /// Who did what at which cost.
    pub series: Vec<Series>,
    /// What the primitives did in the same run.
    pub speeds: Option<Speeds>,
}

/// One step of one of those who are measured, over all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// Who.
    pub who: String,
    /// What.
    pub step: String,
    /// Of each round.
    pub costs: Vec<Cost>,
}

/// What one step cost.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds, the client's start included.
    pub wall: f64,
    /// Seconds that the service says the call took.
    pub call: Option<f64>,
    /// Processor seconds of train_lib's process, or of our service, in the program.
    pub user: f64,
    /// The same, in the kernel.
    pub system: f64,
    /// Processor seconds of our client.
    pub client: f64,
    /// Processor seconds of the engine's daemon, when it can be seen.
    pub engine: Option<f64>,
    /// The most memory: of train_lib's process, or of our service above its idle level; MiB.
    pub peak_mib: Option<f64>,
}

/// What the primitives did in the same run, one thread; by processor time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Speeds {
    /// SHA-512, bytes per second.
    pub sha512: f64,
    /// SHA-256, bytes per second.
    pub sha256: f64,
    /// AES-256-CBC sealing, bytes per second.
    pub seal: f64,
    /// AES-256-CBC opening, bytes per second.
    pub open: f64,
    /// Seconds of a signature in the token.
    pub sign: f64,
    /// Seconds of a decryption in the token.
    pub decrypt: f64,
}

/// Operations of one kind, one way, at one number of callers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeySeries {
    /// `sign` or `unwrap`.
    pub operation: String,
    /// `bare`, `unix` or `mtls`.
    pub way: String,
    /// Callers, or threads.
    pub callers: usize,
    /// Of each round.
    pub rounds: Vec<Rate>,
}

/// What came of one round of operations.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// Operations per second.
    pub per_second: f64,
    /// Milliseconds that half of them did not exceed.
    pub p50_ms: f64,
    /// Milliseconds that 99 of 100 did not exceed.
    pub p99_ms: f64,
    /// Microseconds of processor time per operation: of the process that uses the token.
    pub cpu_us: f64,
}

impl Record {
    fn file() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.json"))
    }

    /// What was measured before.
    pub fn load() -> Self {
        let Ok(text) = fs::read(Self::file()) else { return Self::default() };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            eprintln!("{}: {error}: made anew", Self::file().display());
            Self::default()
        })
    }

    /// Keeps it for later runs and reports.
    pub fn save(&self) {
        let mut text = serde_json::to_vec_pretty(self).expect("plain values");
        text.push(b'\n');
        fs::write(Self::file(), text).expect("docs/performance.json");
    }

    /// Replaces what was measured of the pure parts, if they were.
    pub fn take_pure(&mut self, measured: Vec<Pure>) {
        if !measured.is_empty() {
            self.pure = measured;
            self.save();
        }
    }

    /// Replaces the cases of a part that were measured again; the others stay.
    pub fn put(&mut self, part: Part, cases: &[Case]) {
        let known = self.cases.entry(part).or_default();
        for case in cases {
            match known.iter_mut().find(|old| old.name == case.name) {
                Some(old) => old.clone_from(case),
                None => known.push(case.clone()),
            }
        }
        known.sort_by_key(|case| (case.files, case.bytes));
    }
}

impl Case {
    /// An empty one.
    pub fn new(name: impl Into<String>, bytes: u64, files: u64) -> Self {
        Self { name: name.into(), bytes, files, series: Vec::new(), speeds: None }
    }

    /// Adds a round's cost.
    pub fn add(&mut self, who: &str, step: &str, cost: Cost) {
        match self.series.iter_mut().find(|series| series.who == who && series.step == step) {
            Some(series) => series.costs.push(cost),
            None => self.series.push(Series { who: who.to_owned(), step: step.to_owned(), costs: vec![cost] }),
        }
    }

    /// What a step cost in each round.
    pub fn costs(&self, who: &str, step: &str) -> &[Cost] {
        self.series.iter().find(|series| series.who == who && series.step == step).map_or(&[], |series| &series.costs)
    }

    /// The wall time of several steps together, by round; empty when one of them was not measured.
    pub fn walls(&self, who: &str, steps: &[&str]) -> Vec<f64> {
        let all: Vec<&[Cost]> = steps.iter().map(|step| self.costs(who, step)).collect();
        let rounds = all.iter().map(|costs| costs.len()).min().unwrap_or(0);
        (0..rounds).map(|round| all.iter().map(|costs| costs[round].wall).sum()).collect()
    }
}
