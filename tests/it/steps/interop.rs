//! stationmaster and train_lib on one route: whichever is at a stop, the next stop and the creator accept the train.

use stationmaster_proto as pb;
use stationmaster_proto::RuleOutcome;

use crate::support::{Launch, LibStation, Mode, Peer, Seat, Station, Train, whole_images};

/// Whose security module a stop has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    TrainLib,
    Stationmaster,
}
use self::By::{Stationmaster as Ours, TrainLib as Lib};

enum Stop {
    Lib(LibStation),
    Ours(Station),
}

impl Stop {
    fn seat(&self) -> Seat {
        match self {
            Self::Lib(station) => Seat { id: station.id.clone(), hex_pem: station.hex_pem.clone() },
            Self::Ours(station) => station.seat(),
        }
    }
}

const SIZES: [u32; 3] = [2048, 3072, 4096];

/// The stops of a route. `turn` turns the key sizes round, so that over the routes every size comes to stand at every stop.
fn stops(version: &str, by: [By; 3], turn: usize, directory: &std::path::Path) -> Vec<Stop> {
    stops_of(version, by, turn, directory, Launch::start_pinned)
}

/// The same, with the way in which ours start.
fn stops_of(
    version: &str,
    by: [By; 3],
    turn: usize,
    directory: &std::path::Path,
    start: impl Fn(Launch) -> Station,
) -> Vec<Stop> {
    let stop = |(index, by): (usize, By)| {
        let (id, bits) = (format!("station-{index}"), SIZES[(index + turn) % 3]);
        match by {
            Lib => Stop::Lib(Peer::new(version).station(&id, bits, directory)),
            Ours => Stop::Ours(start(Station::with(&id).bits(bits))),
        }
    };
    by.into_iter().enumerate().map(stop).collect()
}

/// Takes a train over its route. After each stop the creator checks every signature and opens everything.
#[track_caller]
fn travel(version: &str, train: &Train, stops: &[Stop], turn: usize) {
    let mut hashes = Vec::new();
    for stop in stops {
        if let Stop::Ours(station) = stop {
            station.trust_train(train);
        }
    }
    for (index, stop) in stops.iter().enumerate() {
        let mode = if (index + turn).is_multiple_of(2) { Mode::Commit } else { Mode::Dag };
        match stop {
            Stop::Lib(station) => {
                station.pre_run(&train.image).unwrap_or_else(|error| panic!("train_lib's pre-run at stop {index}: {error:?}"));
                Peer::new(version).run_train(&train.image, mode, &[]);
                station.post_run(&train.image).unwrap_or_else(|error| panic!("train_lib's post-run at stop {index}: {error:?}"));
            }
            Stop::Ours(station) => {
                let run = station.pre_run(&train.image).unwrap_or_else(|refusal| panic!("pre-run at stop {index}: {refusal:?}"));
                assert_eq!((run.stop_index as usize, &run.session_id), (index, &train.session_id()));
                assert_eq!(run.immutable_digest, train.immutable_digest());
                assert_eq!(run.has_query.then_some(&run.query), train.query.as_ref());
                all_is_strict(&run.rules, &run.warnings);
                Peer::new(version).run_train(&train.image, mode, &[]);
                let closed =
                    station.post_run(&run.run_id).unwrap_or_else(|refusal| panic!("post-run at stop {index}: {refusal:?}"));
                assert_eq!(closed.image, train.image);
                all_is_strict(&closed.rules, &closed.warnings);
                assert!(closed.plaintext_held_by.is_empty(), "plaintext is held by {:?}", closed.plaintext_held_by);
                let shows = Peer::newest().scan_layers(&train.image, &train.canaries());
                assert!(shows.is_empty(), "stop {index} left plaintext in the sealed image: {shows:?}");
            }
        }
        let opened = train.open(&hashes);
        assert_eq!(opened.stops_signed as usize, index + 1);
        assert_eq!(opened.files, train.expected_results(index + 1), "the results after stop {index}");
        assert_eq!(opened.code, train.code());
        assert_eq!(opened.query, train.query);
        hashes.push(opened.result_hash);
    }
}

/// Every rule that is on by default was held against the train, and nothing was relaxed.
#[track_caller]
fn all_is_strict(rules: &[pb::RuleReport], warnings: &[String]) {
    let of = |outcome| rules.iter().filter(move |rule| rule.outcome() == outcome).map(|rule| rule.rule.as_str());
    assert!(of(RuleOutcome::Checked).count() >= 10, "{rules:?}");
    // Those that are held only where a configuration demands them.
    assert!(of(RuleOutcome::Relaxed).all(|rule| ["past-stops-excluded", "master-image"].contains(&rule)), "{rules:?}");
    assert!(of(RuleOutcome::Checked).any(|rule| rule == "wrap-for-trusted"), "{rules:?}");
    assert!(!warnings.iter().any(|warning| warning.contains("relaxed") || warning.contains("NO KEY")), "{warnings:?}");
}

/// A route of both, for another engine.
pub fn mixed_route() {
    route("2.0.6a0", [Ours, Lib, Ours], 0);
}

#[track_caller]
fn route(version: &str, by: [By; 3], turn: usize) {
    let directory = tempfile::tempdir().unwrap();
    let stops = stops(version, by, turn, directory.path());
    let seats: Vec<Seat> = stops.iter().map(Stop::seat).collect();
    travel(version, &Train::of(&seats).make(), &stops, turn);
}

/// Routes of one version of train_lib, as tests; those that are marked run in the soak only.
macro_rules! routes {
    ($version:literal as $module:ident: $($(#[$soak:meta])? $name:ident $by:tt $turn:literal,)*) => {
        mod $module {
            use super::{Lib, Ours, route};

            $(#[test]
            $(#[$soak])?
            fn $name() { route($version, $by, $turn) })*
        }
    };
}

// Every version of train_lib meets either module at every stop, any two stops have every pair of modules, and our key has every size at every
// stop. The soak has the other routes.
routes! { "2.0.5" as train_lib_2_0_5:
    lib_ours_lib [Lib, Ours, Lib] 2,
    ours_lib_ours [Ours, Lib, Ours] 2,
    ours_ours_ours [Ours, Ours, Ours] 1,
    #[ignore = "one of the complete combinations: `make soak` runs it"] lib_lib_lib [Lib, Lib, Lib] 0,
    #[ignore = "one of the complete combinations: `make soak` runs it"] lib_lib_ours [Lib, Lib, Ours] 1,
    #[ignore = "one of the complete combinations: `make soak` runs it"] lib_ours_ours [Lib, Ours, Ours] 0,
    #[ignore = "one of the complete combinations: `make soak` runs it"] ours_lib_lib [Ours, Lib, Lib] 1,
    #[ignore = "one of the complete combinations: `make soak` runs it"] ours_ours_lib [Ours, Ours, Lib] 0,
}

routes! { "2.0.6a0" as train_lib_2_0_6a0:
    lib_lib_ours [Lib, Lib, Ours] 0,
    ours_lib_lib [Ours, Lib, Lib] 1,
    ours_ours_lib [Ours, Ours, Lib] 0,
    #[ignore = "one of the complete combinations: `make soak` runs it"] lib_lib_lib [Lib, Lib, Lib] 0,
    #[ignore = "one of the complete combinations: `make soak` runs it"] lib_ours_lib [Lib, Ours, Lib] 2,
    #[ignore = "one of the complete combinations: `make soak` runs it"] lib_ours_ours [Lib, Ours, Ours] 0,
    #[ignore = "one of the complete combinations: `make soak` runs it"] ours_lib_ours [Ours, Lib, Ours] 2,
    #[ignore = "one of the complete combinations: `make soak` runs it"] ours_ours_ours [Ours, Ours, Ours] 1,
}

/// train_lib on both sides of us.
fn between_train_lib(version: &str, plan: impl FnOnce(&[Seat]) -> Train) {
    let directory = tempfile::tempdir().unwrap();
    let stops = stops(version, [Lib, Ours, Lib], 2, directory.path());
    let seats: Vec<Seat> = stops.iter().map(Stop::seat).collect();
    travel(version, &plan(&seats), &stops, 0);
}

#[test]
fn a_train_without_a_query_travels() {
    between_train_lib("2.0.6a0", |seats| Train::of(seats).without_query().make());
}

#[test]
fn a_train_whose_creators_key_is_spki_travels() {
    between_train_lib("2.0.5", |seats| Train::of(seats).spki_creator().make());
}

/// Ours send the engine whole images.
fn route_of_whole_images(version: &str, by: [By; 3], turn: usize) {
    let directory = tempfile::tempdir().unwrap();
    let stops = stops_of(version, by, turn, directory.path(), |station| station.start_pinned_and(whole_images));
    let seats: Vec<Seat> = stops.iter().map(Stop::seat).collect();
    travel(version, &Train::of(&seats).make(), &stops, turn);
}

#[test]
fn a_train_travels_between_stations_that_write_whole_images() {
    route_of_whole_images("2.0.6a0", [Ours, Ours, Ours], 0);
}

#[test]
fn a_train_travels_between_train_lib_and_a_station_that_writes_whole_images() {
    route_of_whole_images("2.0.5", [Lib, Ours, Lib], 1);
}
