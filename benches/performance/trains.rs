//! Pre-run and post-run of trains: the engine's floor, train_lib and every way of ours in turn, on the same sealed image. The
//! sealed trains, once made, serve the measuring of images too.

use crate::{
    engine::Engine,
    images,
    modes::{FLOOR, MODES, Mode, TRAIN_LIB, ours},
    options::{Options, Part},
    payload::Payload,
    record::{Case, Cost},
    sealed::Sealed,
    second::Second,
    speeds,
    steps::{CARRIED, COMMITTED, POST, PRE, WHOLE},
    support::Station,
};

/// Larger trains take so long that a cold start does not show.
const NEEDS_WARMTH: u64 = 10_000_000;

/// Measures every size; `done` is told each part's cases as they come.
pub fn measure(options: &Options, done: &mut dyn FnMut(Part, &[Case])) {
    let first = Station::start("a");
    let third = Station::start("c").seat();
    let mut second = Second::start();
    let mut warm = options.short;
    for payload in options.sizes() {
        eprintln!("{payload}: making the train");
        let sealed = Sealed::make(payload, &first, &[second.seat(), third.clone()]);
        if options.wants(Part::Trains) {
            let mut case = Case::new(payload.to_string(), payload.bytes(), payload.files);
            if !warm && payload.bytes() < NEEDS_WARMTH {
                // The first of all pays for cold files and caches: it is not counted, where that would show.
                round(0, &sealed, &mut second, &mut Case::new("", 0, 0));
                warm = true;
            }
            case.speeds = Some(speeds::measure(&second, options));
            for number in 0..options.rounds(payload) {
                eprintln!("{payload}: trains, round {}", number + 1);
                options.wait_for_quiet();
                round(number, &sealed, &mut second, &mut case);
            }
            done(Part::Trains, &[case]);
        }
        if options.wants(Part::Images) {
            done(Part::Images, &[images::measure(options, payload, &sealed, &mut second)]);
        }
    }
}

/// Each way once, beginning with another each round.
fn round(number: usize, sealed: &Sealed, second: &mut Second, case: &mut Case) {
    let contestants = MODES.len() + 2;
    for turn in 0..contestants {
        sealed.restore();
        match (turn + number) % contestants {
            0 => case.add(FLOOR, WHOLE, Engine::connect().floor(sealed.image(), &sealed.train.base, &sealed.train.repository)),
            1 => train_lib(sealed, second, case),
            other => our_way(&MODES[other - 2], sealed, second, case),
        }
    }
    sealed.restore();
}

fn train_lib(sealed: &Sealed, second: &Second, case: &mut Case) {
    case.add(TRAIN_LIB, PRE, second.train_lib(PRE, sealed.image()));
    keep(TRAIN_LIB, sealed, case);
    case.add(TRAIN_LIB, POST, second.train_lib(POST, sealed.image()));
}

fn our_way(mode: &Mode, sealed: &Sealed, second: &mut Second, case: &mut Case) {
    let who = ours(mode);
    second.forget(sealed);
    let (cost, run) = second.ours(&[&["train", "pre-run", sealed.image()], mode.pre_run].concat());
    case.add(&who, PRE, cost);
    if mode.keeps {
        keep(&who, sealed, case);
    } else {
        for step in [COMMITTED, CARRIED] {
            case.add(&who, step, Cost::default());
        }
    }
    let run = run["run_id"].as_str().expect("a run");
    // What is measured is the sealing: most runs here leave what they found.
    case.add(&who, POST, second.ours(&["train", "post-run", "--no-results", run]).0);
}

/// What a station does to keep a run's outcome, in both ways. The container's own start and end are not counted.
fn keep(who: &str, sealed: &Sealed, case: &mut Case) {
    let engine = Engine::connect();
    let ran = engine.ran(sealed.image());
    case.add(who, COMMITTED, engine.keep_committed(&ran, &sealed.train.repository));
    case.add(who, CARRIED, engine.keep_carried(&ran, &sealed.train.base, &sealed.train.repository));
    engine.remove_container(&ran);
    rustix::fs::sync();
}

/// A train of this size at the second stop, for those who measure something else.
pub fn sealed_train(payload: Payload, first: &Station, second: &Second) -> Sealed {
    Sealed::make(payload, first, &[second.seat()])
}
