//! What must not grow: memory with the number of files, and time with the number of trains at once.

use serde_json::Value;

use crate::{
    modes::{MODES, Mode, ours},
    options::Options,
    payload::Payload,
    record::{Case, Cost},
    sealed::Sealed,
    second::Second,
    steps::{POST, PRE},
    support::Station,
    trains::sealed_train,
};

/// Trains at once.
const TRAINS: usize = 4;
/// How four trains are taken.
pub const IN_TURN: &str = "one after the other";
/// As [`IN_TURN`].
pub const AT_ONCE: &str = "at once";

/// Measures both, in every way of opening.
pub fn measure(options: &Options) -> Vec<Case> {
    let first = Station::start("a");
    let mut second = Second::start();
    let size = |text: &str| text.parse::<Payload>().expect("a size");
    let (many, four) = if options.short { ("200x1kB", "100kB") } else { ("100000x1kB", "100MB") };
    let many = many_files(size(many), options, &first, &mut second);
    vec![many, four_trains(size(four), options, &first, &mut second)]
}

fn many_files(payload: Payload, options: &Options, first: &Station, second: &mut Second) -> Case {
    let mut case = Case::new(payload.to_string(), payload.bytes(), payload.files);
    let sealed = sealed_train(payload, first, second);
    for round in 0..options.rounds(payload) {
        for mode in MODES {
            eprintln!("{payload}: {}, round {}", mode.name, round + 1);
            sealed.restore();
            options.wait_for_quiet();
            second.forget(&sealed);
            let (cost, run) = second.ours(&pre_run(mode, &sealed));
            case.add(&ours(mode), PRE, cost);
            case.add(&ours(mode), POST, second.ours(&["train", "post-run", "--no-results", id(&run)]).0);
        }
    }
    case
}

/// Nothing runs between the two steps: post-run takes what pre-run has written.
fn four_trains(payload: Payload, options: &Options, first: &Station, second: &mut Second) -> Case {
    let mut case = Case::new(format!("{TRAINS} trains of {payload}"), payload.bytes() * TRAINS as u64, payload.files);
    let trains: Vec<Sealed> = (0..TRAINS).map(|_| sealed_train(payload, first, second)).collect();
    for round in 0..options.rounds(payload) {
        for mode in MODES {
            eprintln!("{}: {}, round {}", case.name, mode.name, round + 1);
            let who = |how: &str| format!("{}, {how}", ours(mode));
            options.wait_for_quiet();
            begin(&trains, second);
            let runs: Vec<(Cost, Value)> = trains.iter().map(|train| second.ours(&pre_run(mode, train))).collect();
            case.add(&who(IN_TURN), PRE, together(runs.iter().map(|(cost, _)| *cost)));
            let posts = runs.iter().map(|(_, run)| second.ours(&["train", "post-run", "--no-results", id(run)]).0);
            let posts: Vec<Cost> = posts.collect();
            case.add(&who(IN_TURN), POST, together(posts));

            begin(&trains, second);
            let commands: Vec<Vec<&str>> = trains.iter().map(|train| pre_run(mode, train)).collect();
            let (cost, runs) = second.ours_at_once(&commands);
            case.add(&who(AT_ONCE), PRE, cost);
            let commands: Vec<Vec<&str>> = runs.iter().map(|run| vec!["train", "post-run", "--no-results", id(run)]).collect();
            case.add(&who(AT_ONCE), POST, second.ours_at_once(&commands).0);
        }
    }
    case
}

fn begin(trains: &[Sealed], second: &mut Second) {
    trains.iter().for_each(Sealed::restore);
    second.forget(&trains[0]);
}

fn pre_run<'a>(mode: &Mode, train: &'a Sealed) -> Vec<&'a str> {
    ["train", "pre-run", train.image()].into_iter().chain(mode.pre_run.iter().copied()).collect()
}

fn id(run: &Value) -> &str {
    run["run_id"].as_str().expect("a run")
}

/// Times add up; memory is that of the greediest.
fn together(costs: impl IntoIterator<Item = Cost>) -> Cost {
    let mut all = Cost::default();
    for cost in costs {
        all.wall += cost.wall;
        all.user += cost.user;
        all.system += cost.system;
        all.client += cost.client;
        all.peak_mib = Some(all.peak_mib.unwrap_or(0.0).max(cost.peak_mib.unwrap_or(0.0)));
    }
    all
}
