//! The engine itself killed, dockerd and containerd, in the middle of what it does for a step, and started again.

use std::thread;

use stationmaster_proto::OpenInto;

use crate::support::{
    PrivateEngine, Refusal,
    proxied::{Proxied, when_free},
    proxy::{Do, LOAD, READ, WRITE, Way},
    tamper::{Before, RESULTS, refused, run_script},
};

/// A request of a step, the way its bytes go, and what the step opens into.
type Moment = (&'static str, Way, OpenInto);

const PRE_RUN: [Moment; 4] = [
    (READ, Way::FromEngine, OpenInto::Image),
    (LOAD, Way::ToEngine, OpenInto::Image),
    (READ, Way::FromEngine, OpenInto::Directory),
    (WRITE, Way::ToEngine, OpenInto::Volume),
];
const POST_RUN: [(&str, Way); 2] = [(READ, Way::FromEngine), (LOAD, Way::ToEngine)];

/// The engine is killed when a MiB of a call's request has gone through; the call is refused, and the engine started again.
#[track_caller]
fn dies_under<T: Send>(
    engine: &mut PrivateEngine,
    proxied: &Proxied,
    (marker, way): (&'static str, Way),
    call: impl FnOnce() -> Result<T, Refusal> + Send,
) {
    proxied.proxy.when(marker, way, 1 << 20, Do::Stall);
    let answer = thread::scope(|scope| {
        let call = scope.spawn(call);
        proxied.proxy.struck();
        engine.kill();
        proxied.proxy.release();
        call.join().expect("a call")
    });
    refused("the engine was killed", answer, "ENGINE_UNAVAILABLE");
    proxied.healthy("NOT_SERVING");
    engine.start();
    proxied.healthy("SERVING");
}

/// A train is opened and closed, and the engine killed at each of these moments. Answers how often it was.
#[track_caller]
fn outlives_the_engine(engine: &mut PrivateEngine, pre_run: &[Moment], post_run: &[(&'static str, Way)]) -> usize {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let before = Before::of(&scene.engine, &scene.train);
    for &(marker, way, into) in pre_run {
        let open = || scene.station.open_into(&scene.train.image, into);
        dies_under(engine, &proxied, (marker, way), open);
        proxied.as_it_was(&before);
        let run = when_free(open);
        assert!(!run.repeated_answer);
        scene.station.abort(&run.run_id).unwrap();
        proxied.as_it_was(&before);
    }
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let before = Before::of(&scene.engine, &scene.train);
    for &moment in post_run {
        dies_under(engine, &proxied, moment, || scene.station.post_run(&run.run_id));
        proxied.as_it_was(&before);
    }
    let closed = when_free(|| scene.station.post_run(&run.run_id));
    assert!(closed.plaintext_held_by.is_empty() && !closed.repeated_answer, "{closed:?}");
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
    pre_run.len() + post_run.len()
}

#[test]
fn an_engine_killed_while_it_loads_and_while_it_reads_leaves_nothing_and_the_steps_succeed() {
    PrivateEngine::with(
        "steps::crash::engine::an_engine_killed_while_it_loads_and_while_it_reads_leaves_nothing_and_the_steps_succeed",
        |_| None,
        |engine| assert_eq!(outlives_the_engine(engine, &PRE_RUN[1..2], &POST_RUN[..1]), 2),
    );
}

#[test]
#[ignore = "minutes: `make soak` runs it"]
fn kills_of_the_engine_in_every_mode() {
    PrivateEngine::with(
        "steps::crash::engine::kills_of_the_engine_in_every_mode",
        |_| None,
        |engine| {
            let rounds = crate::steps::crash::soak_rounds();
            let kills: usize = (0..rounds).map(|_| outlives_the_engine(engine, &PRE_RUN, &POST_RUN)).sum();
            println!(
                "kills of the engine: {} moments, {rounds} rounds, {kills} kills, 0 failures",
                PRE_RUN.len() + POST_RUN.len()
            );
        },
    );
}
