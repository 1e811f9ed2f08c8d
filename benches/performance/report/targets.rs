//! The targets, and whether each is met.

use super::{
    keys,
    table::{self, figure, ratios},
};
use crate::{
    flat::{AT_ONCE, IN_TURN},
    keys::SIGN_3072,
    large::{HASH, VALIDATE},
    modes::{FLOOR, MODES, TRAIN_LIB, ours},
    options::Part,
    record::{Case, Record},
    statistics::median,
    steps::{CARRIED, POST, PRE, WHOLE},
};

/// Bounds a figure.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Target {
    what: String,
    bound: Bound,
    values: Vec<f64>,
}

impl Target {
    fn new(what: impl Into<String>, bound: Bound, values: Vec<f64>) -> Self {
        Self { what: what.into(), bound, values }
    }

    fn row(&self) -> Vec<String> {
        let middle = median(&self.values);
        let (wanted, met) = match self.bound {
            Bound::AtMost(most) => (format!("≤ {most}"), middle <= most),
            Bound::AtLeast(least) => (format!("≥ {least}"), middle >= least),
        };
        let verdict = match (self.values.is_empty(), met) {
            (true, _) => "not measured",
            (_, true) => "met",
            (_, false) => "**missed**",
        };
        vec![self.what.clone(), wanted, figure(&self.values), verdict.into()]
    }
}

/// All targets.
pub fn table(record: &Record) -> String {
    let targets = drop_in(record)
        .into_iter()
        .chain(other_ways(record))
        .chain(flatness(record))
        .chain(large(record))
        .chain(signatures(record));
    table::table(&["what", "target", "measured", ""], &targets.map(|target| target.row()).collect::<Vec<_>>())
}

fn case<'a>(record: &'a Record, part: Part, name: &str) -> Option<&'a Case> {
    record.cases.get(&part)?.iter().find(|case| case.name == name)
}

fn walls(case: Option<&Case>, who: &str, steps: &[&str]) -> Vec<f64> {
    case.map(|case| case.walls(who, steps)).unwrap_or_default()
}

/// From image to image.
fn drop_in(record: &Record) -> Vec<Target> {
    let own = ours(&MODES[0]);
    let mut targets = Vec::new();
    let sizes = [("1 GB", true, [1.25, 2.1]), ("10000 × 10 kB", true, [1.25, 1.9]), ("1 MB", false, [2.5, 3.0])];
    for (name, is_bulk, times) in sizes {
        let case = case(record, Part::Trains, name);
        for (step, least) in [PRE, POST].into_iter().zip(times) {
            let walls = |who: &str, step: &str| walls(case, who, &[step]);
            if is_bulk {
                let of_floor = ratios(&walls(&own, step), &walls(FLOOR, WHOLE));
                targets.push(Target::new(
                    format!("image, {name}: {step} relative to the engine's floor"),
                    Bound::AtMost(1.2),
                    of_floor,
                ));
            }
            let times = ratios(&walls(TRAIN_LIB, step), &walls(&own, step));
            targets.push(Target::new(format!("image, {name}: {step}, times as fast as train_lib"), Bound::AtLeast(least), times));
        }
    }
    targets
}

/// Into a directory or a volume.
fn other_ways(record: &Record) -> Vec<Target> {
    let case = case(record, Part::Trains, "1 GB");
    let mut targets = Vec::new();
    for (way, least) in [("directory", 4.0), ("volume", 3.0)] {
        let own = MODES.iter().find(|mode| mode.name == way).map(ours).unwrap_or_default();
        let times = |steps: &[&str]| ratios(&walls(case, TRAIN_LIB, steps), &walls(case, &own, steps));
        let pre = times(&[PRE]);
        targets.push(Target::new(format!("{way}, 1 GB: pre-run, times as fast as train_lib"), Bound::AtLeast(least), pre));
        if way == "directory" {
            let all = times(&[PRE, CARRIED, POST]);
            let what = format!("{way}, 1 GB: pre-run, keep and post-run, times as fast as train_lib's");
            targets.push(Target::new(what, Bound::AtLeast(3.0), all));
        }
    }
    targets
}

/// Memory, and trains at once.
fn flatness(record: &Record) -> Vec<Target> {
    let mut targets = Vec::new();
    for (part, name) in [(Part::Trains, "1 GB"), (Part::Flat, "100000 × 1 kB")] {
        let case = case(record, part, name);
        for mode in MODES {
            for step in [PRE, POST] {
                let costs = case.iter().flat_map(|case| case.costs(&ours(mode), step));
                let peaks: Vec<f64> = costs.filter_map(|cost| cost.peak_mib).collect();
                let what = format!("{}, {name}: {step}, maximum memory above idle, MiB", mode.name);
                targets.push(Target::new(what, Bound::AtMost(64.0), peaks));
            }
        }
    }
    let four = record.cases.get(&Part::Flat).and_then(|cases| cases.iter().find(|case| case.name.starts_with("4 trains")));
    for mode in MODES {
        let walls = |how: &str| walls(four, &format!("{}, {how}", ours(mode)), &[PRE, POST]);
        let what = format!("{}, four trains: concurrent relative to sequential", mode.name);
        targets.push(Target::new(what, Bound::AtMost(1.0), ratios(&walls(AT_ONCE), &walls(IN_TURN))));
    }
    targets
}

/// A large image, read as it streams.
fn large(record: &Record) -> Vec<Target> {
    let case = record.cases.get(&Part::Large).and_then(|cases| cases.first());
    let name = case.map_or("a large image", |case| case.name.as_str());
    let mut targets = Vec::new();
    for who in [HASH, VALIDATE] {
        let of_export = ratios(&walls(case, who, &[WHOLE]), &walls(case, FLOOR, &[WHOLE]));
        targets.push(Target::new(format!("{name}: {who}, relative to the engine's export"), Bound::AtMost(1.2), of_export));
        let costs = case.iter().flat_map(|case| case.costs(who, WHOLE));
        let peaks: Vec<f64> = costs.filter_map(|cost| cost.peak_mib).collect();
        targets.push(Target::new(format!("{name}: {who}, maximum memory above idle, MiB"), Bound::AtMost(64.0), peaks));
    }
    targets
}

/// `Sign`, self-verification included.
fn signatures(record: &Record) -> Vec<Target> {
    let way = |operation: &str| if operation == SIGN_3072 { ("unix", "Unix socket") } else { ("mtls", "mTLS") };
    let pair = |operation: &str, callers: usize, value: &dyn Fn(&crate::record::Rate) -> f64| {
        let same =
            |one: &&crate::record::KeySeries| one.operation == operation && one.way == way(operation).0 && one.callers == callers;
        let both = record.keys.iter().find(same).zip(keys::bare(record, operation, callers == 1));
        both.map(|(served, bare)| (keys::of(served, value), keys::of(bare, value))).unwrap_or_default()
    };
    let (cpu, bare) = pair("sign", 64, &|rate| rate.cpu_us);
    let (late, bare_late) = pair("sign", 1, &|rate| rate.p99_ms);
    let later = late.iter().zip(&bare_late).map(|(late, bare)| late - bare).collect();
    let per_cpu = |operation: &str, callers: usize| {
        let (cpu, bare) = pair(operation, callers, &|rate| rate.cpu_us);
        let callers = if callers == 1 { "1 caller".to_owned() } else { format!("{callers} callers") };
        Target::new(
            format!("{operation}, {}, {callers}: requests per server CPU, relative to bare", way(operation).1),
            Bound::AtLeast(0.8),
            ratios(&bare, &cpu),
        )
    };
    vec![
        Target::new(
            "sign, mTLS, 64 callers: CPU per request, relative to the bare operation",
            Bound::AtMost(1.3),
            ratios(&cpu, &bare),
        ),
        per_cpu("sign", 1),
        per_cpu("sign", 8),
        per_cpu("sign", 64),
        per_cpu(SIGN_3072, 1),
        per_cpu(SIGN_3072, 8),
        per_cpu(SIGN_3072, 64),
        Target::new("sign, mTLS, 1 caller: p99 above the bare operation's, ms", Bound::AtMost(2.0), later),
    ]
}
