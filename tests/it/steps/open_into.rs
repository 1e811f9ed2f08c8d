//! Trains that are opened beside their image, into volumes or a directory: the same journey, the same refusals, and no
//! plaintext in any image or left behind.

use stationmaster_proto::{OpenInto, PreRunOutcome, mount::Source};

use crate::support::{
    Engine, LibStation, Mode, Peer, Station, Train,
    mounts::{BESIDE, Beside, EVERYWHERE, files_in, made, run_opened},
    tamper::{Before, RESULTS, Scene, holds, refused, saved},
};

/// A scene whose train is open there.
fn opened(into: OpenInto) -> (Scene, PreRunOutcome) {
    let scene = Scene::pinned();
    let run = scene.station.open_into(&scene.train.image, into).unwrap();
    (scene, run)
}

/// Before us and after us there is train_lib.
#[track_caller]
fn travels_between_train_lib(version: &str, into: OpenInto) {
    let directory = tempfile::tempdir().unwrap();
    let lib = |id: &str| -> LibStation { Peer::new(version).station(id, 2048, directory.path()) };
    let (first, ours, last) = (lib("first"), Station::with("ours").bits(3072).start_pinned(), lib("last"));
    let seat = |station: &LibStation| crate::support::Seat { id: station.id.clone(), hex_pem: station.hex_pem.clone() };
    let train = Train::of(&[seat(&first), ours.seat(), seat(&last)]).make();
    ours.trust_train(&train);
    let mut hashes = Vec::new();
    for stop in 0..3 {
        match stop {
            1 => {
                let run = ours.open_into(&train.image, into).unwrap();
                assert_eq!((run.immutable_digest.clone(), Some(&run.query)), (train.immutable_digest(), train.query.as_ref()));
                run_opened(&Engine::connect(), &run, None, &[]);
                let closed = ours.post_run(&run.run_id).unwrap();
                assert!(closed.plaintext_held_by.is_empty(), "plaintext is held by {:?}", closed.plaintext_held_by);
                assert!(Beside::of(&ours).is_empty());
            }
            stop => {
                let station = if stop == 0 { &first } else { &last };
                station.pre_run(&train.image).unwrap();
                Peer::new(version).run_train(&train.image, Mode::Commit, &[]);
                station.post_run(&train.image).unwrap();
            }
        }
        let opened = train.open(&hashes);
        assert_eq!(opened.stops_signed as usize, stop + 1);
        assert_eq!(opened.files, train.expected_results(stop + 1), "the results after stop {stop}");
        assert_eq!((opened.code, opened.query), (train.code(), train.query.clone()));
        hashes.push(opened.result_hash);
    }
}

#[test]
fn a_train_opened_into_volumes_travels_between_stations_with_train_lib_2_0_5() {
    travels_between_train_lib("2.0.5", OpenInto::Volume);
}

#[test]
fn a_train_opened_into_volumes_travels_between_stations_with_train_lib_2_0_6a0() {
    travels_between_train_lib("2.0.6a0", OpenInto::Volume);
}

#[test]
fn a_train_opened_into_a_directory_travels_between_stations_with_train_lib_2_0_5() {
    travels_between_train_lib("2.0.5", OpenInto::Directory);
}

#[test]
fn a_train_opened_into_a_directory_travels_between_stations_with_train_lib_2_0_6a0() {
    travels_between_train_lib("2.0.6a0", OpenInto::Directory);
}

#[test]
fn a_train_is_opened_elsewhere_at_every_stop_of_ours() {
    let stations = ["a", "b", "c"].map(|id| Station::with(id).start_pinned());
    let train = Train::of(&stations.each_ref().map(Station::seat)).make();
    stations.iter().for_each(|station| station.trust_train(&train));
    let mut hashes = Vec::new();
    for (stop, (station, into)) in stations.iter().zip([OpenInto::Directory, OpenInto::Volume, OpenInto::Directory]).enumerate() {
        let run = station.open_into(&train.image, into).unwrap();
        assert_eq!(run.stop_index as usize, stop);
        run_opened(&Engine::connect(), &run, None, &[]);
        station.post_run(&run.run_id).unwrap();
        let opened = train.open(&hashes);
        assert_eq!(opened.files, train.expected_results(stop + 1));
        hashes.push(opened.result_hash);
    }
}

#[test]
fn no_image_is_made_of_a_train_opened_beside_it() {
    for into in BESIDE {
        let scene = Scene::pinned();
        let sealed = scene.engine.find(&scene.train.image).unwrap();
        let images = scene.engine.image_ids(&scene.train.repository);
        let run = scene.station.open_into(&scene.train.image, into).unwrap();
        assert_eq!((&run.image_id, &run.source_image_id), (&sealed, &sealed));
        assert_eq!(scene.engine.find(&scene.train.image), Some(sealed), "the name was moved");
        assert_eq!(scene.engine.image_ids(&scene.train.repository), images, "an image was made");
        run_opened(&scene.engine, &run, Some(RESULTS), &[]);
        scene.station.post_run(&run.run_id).unwrap();
        let shipped = saved(&scene.train.image);
        for canary in scene.train.canaries() {
            assert!(!holds(&shipped, canary), "{into:?}: plaintext in a layer: {}", String::from_utf8_lossy(canary));
        }
    }
}

#[test]
fn a_directory_holds_exactly_what_the_train_does() {
    let (scene, run) = opened(OpenInto::Directory);
    let [results, code] = files_in(&run);
    let mut expected = scene.train.code();
    expected.extend(scene.train.query.clone().map(|query| ("query.json".to_owned(), query)));
    assert_eq!((results.len(), code), (0, expected));
    let read_only: Vec<(&str, bool)> = run.mounts.iter().map(|mount| (mount.target.as_str(), mount.read_only)).collect();
    assert_eq!(read_only, [("/opt/pht_results", false), ("/opt/pht_train", true)]);
}

#[test]
fn a_repeated_pre_run_gets_the_same_places_and_the_query() {
    for into in BESIDE {
        let (scene, run) = opened(into);
        let again = scene.station.open_into(&scene.train.image, into).unwrap();
        assert!(again.repeated_answer);
        assert_eq!((&again.run_id, &again.mounts, &again.query), (&run.run_id, &run.mounts, &run.query));
        assert_eq!(Some(&again.query), scene.train.query.as_ref());
    }
}

#[test]
fn a_run_that_is_open_is_not_opened_somewhere_else() {
    for into in EVERYWHERE {
        let (scene, run) = opened(into);
        for other in EVERYWHERE.into_iter().filter(|other| *other != into) {
            let refusal = refused("another place", scene.station.open_into(&scene.train.image, other), "RUN_STATE");
            assert_eq!(refusal.metadata["run_id"], run.run_id);
        }
        scene.station.abort(&run.run_id).unwrap();
    }
}

#[test]
fn an_abort_wipes_what_was_opened() {
    for into in BESIDE {
        let scene = Scene::pinned();
        let before = Before::of(&scene.engine, &scene.train);
        let run = scene.station.open_into(&scene.train.image, into).unwrap();
        assert!(!Beside::of(&scene.station).is_empty());
        run_opened(&scene.engine, &run, Some(RESULTS), &[]);
        let aborted = scene.station.abort(&run.run_id).unwrap();
        assert!(aborted.plaintext_held_by.is_empty(), "{aborted:?}");
        before.assert(&scene.station, "an abort");
        assert!(!scene.station.open_into(&scene.train.image, into).unwrap().repeated_answer);
    }
}

#[test]
fn what_a_run_may_not_do_is_refused_beside_the_image_too() {
    let links = "no-links-or-special-files";
    let cases = [
        ("echo more >> /opt/pht_train/run.sh", "immutable-files-unchanged"),
        ("rm /opt/pht_train/data.bin", "immutable-files-unchanged"),
        ("echo '{}' > /opt/pht_train/query.json", "immutable-files-unchanged"),
        ("ln -s /etc/passwd /opt/pht_results/passwd", links),
        ("ln -s /etc /opt/pht_results/directory", links),
        ("ln /opt/pht_results/empty /opt/pht_results/second-name", links),
        ("mkfifo /opt/pht_results/pipe", links),
        ("mknod /opt/pht_results/device c 1 3", links),
        ("echo x > /opt/pht_results/.wh.empty", "plain-names"),
    ];
    for into in BESIDE {
        let scene = Scene::pinned();
        let before = Before::of(&scene.engine, &scene.train);
        for (script, rule) in cases {
            let run = scene.station.open_into(&scene.train.image, into).unwrap();
            run_opened(&scene.engine, &run, Some(&format!("{RESULTS}; {script}")), &[]);
            let refusal = refused(script, scene.station.post_run(&run.run_id), "IMAGE_POLICY_VIOLATION");
            assert_eq!(refusal.metadata["rule"], rule, "{into:?}: {script}");
            assert!(!Beside::of(&scene.station).is_empty(), "{into:?}: {script}: the run's outcome is gone");
            // The run stays open: it can be aborted.
            scene.station.abort(&run.run_id).unwrap();
            before.assert(&scene.station, script);
        }
    }
}

#[test]
fn what_a_run_adds_to_its_code_is_dropped_and_reported() {
    for into in BESIDE {
        let (scene, run) = opened(into);
        run_opened(&scene.engine, &run, Some(&format!("{RESULTS}; echo x > /opt/pht_train/extra")), &[]);
        let closed = scene.station.post_run(&run.run_id).unwrap();
        assert_eq!(closed.dropped_files, ["pht_train/extra"], "{into:?}");
        assert_eq!(scene.train.open(&[]).code, scene.train.code());
    }
}

#[test]
fn a_volume_in_use_by_a_container_is_reported_and_wiped_by_the_next_call() {
    let (scene, run) = opened(OpenInto::Volume);
    run_opened(&scene.engine, &run, Some(RESULTS), &[]);
    let holder = made(&run, Some("true"), &[]);
    let closed = scene.station.post_run(&run.run_id).unwrap();
    let Some(Source::Volume(volume)) = &run.mounts[0].source else { panic!("{run:?}") };
    assert!(closed.plaintext_held_by.contains(&holder), "{closed:?}");
    assert!(closed.plaintext_held_by.contains(&format!("volume:{volume}")), "{closed:?}");
    scene.engine.remove_container(&holder);
    let again = scene.station.post_run(&run.run_id).unwrap();
    assert!(again.repeated_answer && again.plaintext_held_by.is_empty(), "{again:?}");
    assert!(Beside::of(&scene.station).is_empty());
}

#[test]
fn the_name_must_still_stand_for_the_sealed_train() {
    for into in BESIDE {
        let (scene, run) = opened(into);
        let other = Train::of(&[scene.station.seat()]).make();
        run_opened(&scene.engine, &run, Some(RESULTS), &[]);
        let sealed = scene.engine.find(&scene.train.image).unwrap();
        let foreign = scene.engine.find(&other.image).unwrap();
        scene.engine.tag(&foreign, &scene.train.repository, "latest");
        refused("another image", scene.station.post_run(&run.run_id), "IMAGE_POLICY_VIOLATION");
        scene.engine.tag(&sealed, &scene.train.repository, "latest");
        scene.station.post_run(&run.run_id).unwrap();
    }
}

#[test]
fn without_a_shared_directory_none_is_opened_into() {
    let station = Station::with("a").start_configured(|config| drop(config.remove("runs")));
    let train = Train::of(&[station.seat()]).make();
    refused("no shared directory", station.open_into(&train.image, OpenInto::Directory), "DIRECTORY_NOT_SHARED");
    station.open_into(&train.image, OpenInto::Volume).unwrap();
}

#[test]
fn a_result_that_a_later_run_deletes_is_gone() {
    for into in BESIDE {
        let (engine, first, second) = (Engine::connect(), Station::start("a"), Station::start("b"));
        let train = Train::of(&[first.seat(), second.seat()]).make();
        let run = first.open_into(&train.image, into).unwrap();
        run_opened(&engine, &run, Some(RESULTS), &[]);
        first.post_run(&run.run_id).unwrap();
        let hash = train.open(&[]).result_hash;
        let run = second.open_into(&train.image, into).unwrap();
        run_opened(&engine, &run, Some("rm -r /opt/pht_results/d; echo new > /opt/pht_results/new"), &[]);
        second.post_run(&run.run_id).unwrap();
        let files: Vec<String> = train.open(&[hash]).files.into_keys().collect();
        assert_eq!(files, ["empty", "new"], "{into:?}");
    }
}
