//! What the ledger holds when the token is used.

use stationmaster::{
    ledger::{Ledger, RunFilter, RunState},
    state::LEDGER,
};

use crate::support::{
    Refusal, Station, block_on,
    tamper::Scene,
    token::{SpyLog, Uses, softhsm, spy},
};

const CRASH_AT: &str = "STATIONMASTER_CRASH_AT";

/// The newest run of a service that is dead, as another process reads it.
fn newest(station: &Station) -> RunState {
    let ledger = block_on(Ledger::attach(&station.state().join(LEDGER))).expect("a ledger");
    let everything = RunFilter { open: false, state: None, train: None, session: None, limit: 1 };
    ledger.list(&everything).expect("runs")[0].state
}

/// The service dies at a point of a call. Answers how the token was used by the call, and where the run is.
#[track_caller]
fn dies_at<T: std::fmt::Debug>(
    scene: &mut Scene,
    log: &SpyLog,
    point: &str,
    call: impl FnOnce(&Scene) -> Result<T, Refusal>,
) -> (Uses, RunState) {
    if scene.station.health().is_ok() {
        scene.station.stop();
    }
    scene.station.set_env(CRASH_AT, Some(point));
    scene.station.start_again();
    let before = log.uses();
    let said = call(scene).expect_err("the call came to an end");
    assert_eq!(said.reason, "", "the service answered: {said:?}");
    scene.station.wait();
    let after = log.uses();
    let state = newest(&scene.station);
    scene.station.set_env(CRASH_AT, None);
    let between = |before: (usize, usize), after: (usize, usize)| (after.0 - before.0, after.1 - before.1);
    let uses = Uses {
        signatures: between(before.signatures, after.signatures),
        decryptions: between(before.decryptions, after.decryptions),
        others: after.others - before.others,
    };
    (uses, state)
}

#[test]
fn a_step_is_in_the_ledger_before_the_token_is_used_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = SpyLog(directory.path().join("spy.log"));
    let station = Station::with("a")
        .env("SOFTHSM2_MODULE", spy())
        .env("PKCS11SPY", softhsm().to_str().unwrap())
        .env("PKCS11SPY_OUTPUT", log.0.to_str().unwrap())
        .start();
    let mut scene = Scene::with(station);
    let uses = |decryptions, signatures| Uses { signatures, decryptions, others: 0 };
    let (used, state) = dies_at(&mut scene, &log, "pre-run/intent", Scene::pre_run);
    assert_eq!((used, state), (uses((0, 0), (0, 0)), RunState::Opening));
    let (used, state) = dies_at(&mut scene, &log, "pre-run/unwrapped", Scene::pre_run);
    assert_eq!((used, state), (uses((1, 1), (0, 0)), RunState::Opening));

    scene.station.start_again();
    let run = scene.pre_run().unwrap();
    let close = |scene: &Scene| scene.station.post_run_without_results(&run.run_id);
    let (used, state) = dies_at(&mut scene, &log, "post-run/intent", close);
    assert_eq!((used, state), (uses((0, 0), (0, 0)), RunState::Closing));
    let (used, state) = dies_at(&mut scene, &log, "post-run/results-signed", close);
    assert_eq!((used, state), (uses((0, 0), (1, 1)), RunState::Closing));
}
