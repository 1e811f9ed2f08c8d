//! A train runs once at each stop, whatever state of it is offered again, under whatever name.

use super::{fails, json};
use crate::support::{
    Engine, Station, Train,
    mounts::EVERYWHERE,
    tamper::{Before, RESULTS, refused, run_script},
};

/// A train that has passed three stations, and every state of it: as it was made, and as each stop left it.
struct Passed {
    engine: Engine,
    train: Train,
    stations: [Station; 3],
    runs: Vec<String>,
    states: Vec<String>,
}

impl Passed {
    fn journey() -> Self {
        let engine = Engine::connect();
        let stations = ["a", "b", "c"].map(Station::start);
        let train = Train::of(&stations.each_ref().map(Station::seat)).make();
        let mut passed = Self { engine, train, stations, runs: Vec::new(), states: Vec::new() };
        passed.keep_state();
        for station in 0..3 {
            let run = passed.passes(station);
            passed.runs.push(run);
            passed.keep_state();
        }
        passed
    }

    /// Keeps the state that the name stands for, under a name of its own.
    fn keep_state(&mut self) {
        let state = self.engine.find(&self.train.image).unwrap();
        self.engine.tag(&state, &self.train.repository, &format!("state-{}", self.states.len()));
        self.states.push(state);
    }

    /// Takes the train past a station. Answers the run.
    #[track_caller]
    fn passes(&self, station: usize) -> String {
        let run = self.stations[station].pre_run(&self.train.image).unwrap();
        assert!(!run.repeated_answer);
        run_script(&self.engine, &self.train.image, RESULTS);
        self.stations[station].post_run(&run.run_id).unwrap();
        run.run_id
    }

    fn offer(&self, state: usize) {
        self.engine.tag(&self.states[state], &self.train.repository, "latest");
    }

    /// The station refuses a state, wherever it is to be opened, and changes nothing. Answers the run that it names.
    #[track_caller]
    fn refuses(&self, station: usize, state: usize) -> String {
        self.offer(state);
        let (what, before) = (format!("state {state} at station {station}"), Before::of(&self.engine, &self.train));
        let mut named = String::new();
        for into in EVERYWHERE {
            let refusal = refused(&what, self.stations[station].open_into(&self.train.image, into), "TRAIN_REPLAYED");
            assert_eq!(refusal.code, tonic::Code::FailedPrecondition);
            named.clone_from(&refusal.metadata["run_id"]);
            before.assert(&self.stations[station], &what);
        }
        named
    }
}

#[test]
fn every_earlier_state_of_a_finished_train_is_refused_at_every_station_and_allow_again_lets_one_through() {
    let passed = Passed::journey();
    assert_eq!(passed.train.open(&[]).stops_signed, 3);
    let mut refusals = 0;
    for station in 0..3 {
        for state in 0..=3 {
            assert_eq!(passed.refuses(station, state), passed.runs[station], "another run is named");
            refusals += 1;
        }
    }
    println!("replays: {refusals} states offered again, each in {} ways, {refusals} refused", EVERYWHERE.len());

    // A second run at the second station, and there alone.
    let second = &passed.stations[1];
    let allowed = json(second, &["run", "allow-again", &passed.runs[1], "--reason", "results lost at the next stop"]);
    assert_eq!(allowed["released"]["reason"], "results lost at the next stop");
    for station in 0..3 {
        for state in [0, 2, 3] {
            passed.refuses(station, state);
        }
    }
    passed.refuses(0, 1);
    passed.refuses(2, 1);
    passed.offer(1);
    let again = passed.passes(1);
    assert_ne!(again, passed.runs[1]);
    assert_eq!(passed.train.open(&[]).stops_signed, 2);

    // One, and no more.
    for state in 0..=3 {
        assert_eq!(passed.refuses(1, state), again);
    }
    fails(second, &["run", "allow-again", &passed.runs[1], "--reason", "once more"], 5, "run list");
    assert_eq!(passed.refuses(1, 1), again);
}

#[test]
fn a_finished_train_is_refused_under_another_name_and_with_any_idempotency_key() {
    let (engine, station) = (Engine::connect(), Station::start("a"));
    let train = Train::of(&[station.seat()]).make();
    let sealed = engine.find(&train.image).unwrap();
    let run = station.pre_run_as(&train.image, "key 1").unwrap();
    run_script(&engine, &train.image, RESULTS);
    station.post_run(&run.run_id).unwrap();
    let offered = format!("{}:offered", train.repository);
    let left = engine.find(&train.image).unwrap();
    for state in [&sealed, &left] {
        engine.tag(state, &train.repository, "offered");
        for key in ["key 1", "key 2", ""] {
            let refusal = refused(key, station.pre_run_as(&offered, key), "TRAIN_REPLAYED");
            assert_eq!(refusal.metadata["run_id"], run.run_id);
        }
    }
    // Once it is allowed, the client may come with the key that it always has.
    json(&station, &["run", "allow-again", &run.run_id, "--reason", "asked for"]);
    engine.tag(&sealed, &train.repository, "latest");
    let again = station.pre_run_as(&train.image, "key 1").unwrap();
    assert!(!again.repeated_answer && again.run_id != run.run_id);
}

#[test]
fn a_run_that_was_allowed_again_and_came_to_nothing_may_be_tried_again() {
    let (engine, station) = (Engine::connect(), Station::start("a"));
    let train = Train::of(&[station.seat()]).make();
    let sealed = engine.find(&train.image).unwrap();
    let first = station.pre_run(&train.image).unwrap();
    station.post_run_without_results(&first.run_id).unwrap();
    json(&station, &["run", "allow-again", &first.run_id, "--reason", "asked for"]);
    engine.tag(&sealed, &train.repository, "latest");
    let second = station.pre_run(&train.image).unwrap();
    // While it is open it is one run: the same call gets the same answer, and post-run of the first says what it said.
    assert_eq!(station.pre_run(&train.image).unwrap().run_id, second.run_id);
    assert!(station.post_run(&first.run_id).unwrap().repeated_answer);
    station.abort(&second.run_id).unwrap();
    let third = station.pre_run(&train.image).unwrap();
    assert!(!third.repeated_answer);
    station.post_run_without_results(&third.run_id).unwrap();
    engine.tag(&sealed, &train.repository, "latest");
    refused("a fourth", station.pre_run(&train.image), "TRAIN_REPLAYED");
}
