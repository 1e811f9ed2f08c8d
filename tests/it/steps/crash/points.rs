//! Kills at named points: a sample with every test run, every point in every mode in the soak.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use super::{
    CRASH_AT, Doomed, KILLS,
    Mode::{self, *},
    abort_is_killed,
    layouts::{OF_LAYOUTS, SAMPLED as SAMPLED_IN_LAYOUTS},
    mending_is_killed, post_run_is_killed, pre_run_is_killed,
};
use crate::support::{
    Station,
    mounts::run_opened,
    tamper::{RESULTS, Scene, run_script},
};

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    PreRun,
    PostRun,
    Abort,
    /// A start that undoes a pre-run.
    Mending,
}

const MODES: [Mode; 4] = [Image, Whole, Volume, Directory];
const ALL: &[Mode] = &MODES;
const IMAGES: &[Mode] = &[Image, Whole];
const BESIDE: &[Mode] = &[Volume, Directory];
const NONE: &[Mode] = &[];

/// A point of a step, the modes in which the step comes to it, and those in which it is done by then.
pub type Point = (&'static str, Step, &'static [Mode], &'static [Mode]);

/// Every point, in the order in which a step comes to it.
pub const POINTS: [Point; 46] = [
    ("pre-run/container", Step::PreRun, ALL, NONE),
    ("pre-run/intent", Step::PreRun, ALL, NONE),
    ("pre-run/keeping", Step::PreRun, ALL, NONE),
    ("pre-run/kept", Step::PreRun, ALL, NONE),
    ("pre-run/unwrapped", Step::PreRun, ALL, NONE),
    ("pre-run/landing", Step::PreRun, ALL, NONE),
    ("pre-run/read", Step::PreRun, ALL, NONE),
    ("pre-run/verified", Step::PreRun, ALL, NONE),
    ("pre-run/announced", Step::PreRun, IMAGES, NONE),
    ("pre-run/volume", Step::PreRun, &[Volume], NONE),
    ("pre-run/volumes", Step::PreRun, &[Volume], NONE),
    ("pre-run/filling", Step::PreRun, &[Volume], NONE),
    ("pre-run/loaded", Step::PreRun, ALL, NONE),
    ("pre-run/recorded", Step::PreRun, ALL, BESIDE),
    ("pre-run/tagged", Step::PreRun, ALL, ALL),
    ("pre-run/prepared", Step::PreRun, ALL, ALL),
    ("post-run/intent", Step::PostRun, ALL, NONE),
    ("post-run/container", Step::PostRun, ALL, NONE),
    ("post-run/sealed", Step::PostRun, ALL, NONE),
    ("post-run/results-signed", Step::PostRun, ALL, NONE),
    ("post-run/signed", Step::PostRun, ALL, NONE),
    ("post-run/announced", Step::PostRun, ALL, NONE),
    ("post-run/loaded", Step::PostRun, ALL, NONE),
    ("post-run/recorded", Step::PostRun, ALL, NONE),
    ("post-run/named", Step::PostRun, ALL, ALL),
    ("post-run/tagged", Step::PostRun, ALL, ALL),
    ("wipe/image", Step::PostRun, IMAGES, IMAGES),
    ("wipe/volume", Step::PostRun, &[Volume], &[Volume]),
    ("wipe/directory", Step::PostRun, &[Directory], &[Directory]),
    ("release/begun", Step::PostRun, ALL, ALL),
    ("release/half", Step::PostRun, ALL, ALL),
    ("post-run/cleaned", Step::PostRun, ALL, ALL),
    ("post-run/completed", Step::PostRun, ALL, ALL),
    ("abort/intent", Step::Abort, ALL, NONE),
    ("abort/named", Step::Abort, IMAGES, NONE),
    ("wipe/image", Step::Abort, IMAGES, NONE),
    ("wipe/volume", Step::Abort, &[Volume], NONE),
    ("wipe/directory", Step::Abort, &[Directory], NONE),
    ("release/begun", Step::Abort, ALL, NONE),
    ("release/half", Step::Abort, ALL, NONE),
    ("abort/aborted", Step::Abort, ALL, NONE),
    // In the roll-back an opened image goes by its id, not by `wipe/image`.
    ("wipe/volume", Step::Mending, &[Volume], NONE),
    ("wipe/directory", Step::Mending, &[Directory], NONE),
    ("release/begun", Step::Mending, ALL, NONE),
    ("release/half", Step::Mending, ALL, NONE),
    ("pre-run/failed", Step::Mending, ALL, NONE),
];

/// One kill, with all that must hold after it.
#[track_caller]
fn kill(step: Step, point: &str, mode: Mode) {
    let row = POINTS.iter().find(|row| (row.0, row.1) == (point, step) && row.2.contains(&mode));
    let done = row.expect("a point that the table knows").3.contains(&mode);
    match step {
        Step::PreRun => pre_run_is_killed(point, mode, done),
        Step::PostRun => post_run_is_killed(point, mode, done),
        Step::Abort => abort_is_killed(point, mode),
        Step::Mending => mending_is_killed(point, mode),
    }
}

/// A step does not come to this point: it ends well.
#[track_caller]
fn spare(step: Step, point: &str, mode: Mode) {
    if step == Step::Mending {
        let mut spared = Doomed::at("pre-run/loaded", mode);
        let answer = spared.open();
        spared.died(answer);
        spared.scene.station.set_env(CRASH_AT, Some(point));
        return spared.scene.station.start_again();
    }
    let spared = Doomed::at(point, mode);
    let run = spared.open().unwrap();
    if step == Step::PostRun {
        run_opened(&spared.scene.engine, &run, Some(RESULTS), &[]);
        spared.scene.station.post_run(&run.run_id).unwrap();
    } else if step == Step::Abort {
        spared.scene.station.abort(&run.run_id).unwrap();
    }
}

macro_rules! sample {
    ($($name:ident $step:ident $point:literal $mode:ident,)*) => {
        /// The points that every test run comes to.
        const SAMPLED: &[&str] = &[$($point,)*];

        $(#[test]
        fn $name() {
            kill(Step::$step, $point, $mode);
        })*
    };
}

sample! {
    pre_run_killed_after_its_intent PreRun "pre-run/intent" Image,
    pre_run_killed_after_it_kept_the_sealed_image PreRun "pre-run/kept" Image,
    pre_run_killed_after_it_verified_the_train PreRun "pre-run/verified" Image,
    pre_run_killed_after_it_announced_the_image PreRun "pre-run/announced" Image,
    pre_run_killed_after_it_loaded_the_image PreRun "pre-run/loaded" Image,
    pre_run_killed_after_it_recorded_the_outcome PreRun "pre-run/recorded" Image,
    pre_run_killed_after_it_moved_the_name PreRun "pre-run/tagged" Image,
    post_run_killed_after_its_intent PostRun "post-run/intent" Image,
    post_run_killed_after_it_sealed_the_results PostRun "post-run/sealed" Image,
    post_run_killed_between_its_signatures PostRun "post-run/results-signed" Image,
    post_run_killed_after_it_announced_the_image PostRun "post-run/announced" Image,
    post_run_killed_after_it_loaded_the_image PostRun "post-run/loaded" Image,
    post_run_killed_after_it_recorded_the_outcome PostRun "post-run/recorded" Image,
    post_run_killed_after_it_moved_the_name PostRun "post-run/tagged" Image,
    post_run_killed_while_it_wipes_images PostRun "wipe/image" Image,
    post_run_killed_after_it_cleaned_up PostRun "post-run/cleaned" Image,
    pre_run_killed_after_its_container PreRun "pre-run/container" Image,
    pre_run_killed_before_it_keeps_the_sealed_image PreRun "pre-run/keeping" Image,
    pre_run_killed_after_it_unwrapped_the_key PreRun "pre-run/unwrapped" Directory,
    pre_run_killed_before_it_writes PreRun "pre-run/landing" Directory,
    pre_run_killed_after_it_read_the_train PreRun "pre-run/read" Volume,
    pre_run_killed_after_it_made_one_volume PreRun "pre-run/volume" Volume,
    pre_run_killed_while_it_fills_volumes PreRun "pre-run/filling" Volume,
    pre_run_killed_before_it_answers PreRun "pre-run/prepared" Whole,
    post_run_killed_after_its_container PostRun "post-run/container" Image,
    post_run_killed_after_its_signatures PostRun "post-run/signed" Volume,
    post_run_killed_before_it_lets_go PostRun "release/begun" Image,
    post_run_killed_before_it_answers PostRun "post-run/completed" Whole,
    abort_killed_after_it_put_the_name_back Abort "abort/named" Image,
    abort_killed_before_it_answers Abort "abort/aborted" Directory,
    a_start_killed_before_it_is_done_mending Mending "pre-run/failed" Volume,
    abort_killed_after_its_intent Abort "abort/intent" Image,
    a_start_killed_while_it_mends Mending "release/half" Image,

    pre_run_killed_after_it_opened_the_results_into_a_directory PreRun "pre-run/verified" Directory,
    pre_run_killed_after_it_opened_the_code_into_a_directory PreRun "pre-run/loaded" Directory,
    pre_run_killed_after_it_recorded_a_directory PreRun "pre-run/recorded" Directory,
    pre_run_killed_after_it_made_volumes PreRun "pre-run/volumes" Volume,
    pre_run_killed_after_it_filled_volumes PreRun "pre-run/loaded" Volume,
    pre_run_killed_after_it_recorded_volumes PreRun "pre-run/recorded" Volume,
    post_run_killed_after_it_sealed_a_directory PostRun "post-run/sealed" Directory,
    post_run_killed_before_it_wipes_a_directory PostRun "wipe/directory" Directory,
    post_run_killed_after_it_sealed_volumes PostRun "post-run/loaded" Volume,
    post_run_killed_while_it_wipes_volumes PostRun "wipe/volume" Volume,
    abort_of_a_directory_killed_after_its_intent Abort "abort/intent" Directory,
    abort_of_volumes_killed_while_it_wipes_them Abort "wipe/volume" Volume,

    pre_run_killed_before_its_whole_image_is_there PreRun "pre-run/announced" Whole,
    pre_run_killed_when_its_whole_image_is_there PreRun "pre-run/loaded" Whole,
    post_run_killed_before_its_whole_image_is_there PostRun "post-run/announced" Whole,
}

#[test]
fn latest_is_moved_by_the_start_when_the_kill_came_between_the_two_names() {
    let station = Station::with("a").start_configured(|config| {
        config.insert("compat".into(), toml::toml! { move_latest = true }.into());
    });
    let mut doomed = Doomed::of(Scene::with(station), Image);
    let (latest, repository) = (doomed.scene.train.image.clone(), doomed.scene.train.repository.clone());
    let image = format!("{repository}:travelling");
    doomed.scene.engine.tag(&doomed.sealed, &repository, "travelling");
    doomed.scene.station.stop();
    doomed.scene.station.set_env(CRASH_AT, Some("post-run/named"));
    doomed.scene.station.start_again();
    let run = doomed.scene.station.pre_run(&image).unwrap();
    run_script(&doomed.scene.engine, &image, RESULTS);
    let answer = doomed.scene.station.post_run(&run.run_id);
    doomed.died(answer);
    assert_eq!(doomed.scene.engine.find(&latest).as_ref(), Some(&doomed.sealed));
    doomed.scene.station.set_env(CRASH_AT, None);
    doomed.scene.station.start_again();
    let closed = doomed.scene.station.post_run(&run.run_id).unwrap();
    assert!(closed.repeated_answer && closed.plaintext_held_by.is_empty(), "{closed:?}");
    assert_eq!(doomed.scene.engine.find(&image).as_ref(), Some(&closed.image_id));
    assert_eq!(doomed.scene.engine.find(&latest), Some(closed.image_id));
}

#[test]
fn every_crash_point_is_in_the_sample() {
    let all: BTreeSet<&str> = POINTS.iter().chain(&OF_LAYOUTS).map(|row| row.0).collect();
    // `post-run/named` lies between two names: see the test of `latest`.
    let sampled = SAMPLED.iter().chain(SAMPLED_IN_LAYOUTS).copied().chain(["post-run/named"]).collect();
    assert_eq!(all, sampled);
}

#[test]
fn every_crash_point_of_the_source_is_in_the_table() {
    let mut source = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    points_below(&root.join("src"), &mut source);
    points_below(&root.join("crates"), &mut source);
    let table: BTreeSet<String> = POINTS.iter().chain(&OF_LAYOUTS).map(|row| row.0.to_owned()).collect();
    assert_eq!(source, table);
}

fn points_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            points_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(text.split("failpoint::point(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
}

/// Every point in every mode, `STATIONMASTER_SOAK_ROUNDS` times (default 5). `STATIONMASTER_SOAK_ONLY` picks for a slice, by parts
/// of "step point" with commas between: `PreRun`, `Abort wipe/,Mending`.
#[test]
#[ignore = "half an hour and more: `make soak` runs it"]
fn kills_at_every_point_in_every_mode() {
    let rounds = crate::steps::crash::soak_rounds();
    let only = std::env::var("STATIONMASTER_SOAK_ONLY").unwrap_or_default();
    let (mut failures, mut spared) = (Vec::new(), 0);
    let mut attempt = |what: String, kill: &dyn Fn()| {
        if catch_unwind(AssertUnwindSafe(kill)).is_err() {
            failures.push(what);
        }
    };
    let picked = |row: &&Point| {
        let name = format!("{:?} {}", row.1, row.0);
        only.split(',').any(|part| name.contains(part))
    };
    let rows = POINTS.iter().filter(picked);
    for round in 1..=rounds {
        for &(point, step, occurs, _) in rows.clone() {
            for mode in MODES {
                let what = format!("round {round}: {step:?} at {point}, {mode:?}");
                if occurs.contains(&mode) {
                    attempt(what, &|| kill(step, point, mode));
                } else if round == 1 {
                    println!("{step:?} does not come to {point}, {mode:?}");
                    spared += 1;
                    attempt(what, &|| spare(step, point, mode));
                }
            }
            println!("{step:?} at {point}: {} kills so far", KILLS.get());
        }
        println!("round {round} of {rounds}: {} kills", KILLS.get());
    }
    let points: BTreeSet<&str> = rows.clone().map(|row| row.0).collect();
    println!(
        "kills at named points: {} points, {} places in steps, {} modes, {spared} combinations that do not occur, \
         {rounds} rounds, {} kills, {} failures",
        points.len(),
        rows.count(),
        MODES.len(),
        KILLS.get(),
        failures.len()
    );
    assert!(failures.is_empty(), "{failures:#?}");
}
