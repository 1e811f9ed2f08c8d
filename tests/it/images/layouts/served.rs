//! What else a service does with images in layouts: the same answers as of the engine.

use std::fs;

use stationmaster_proto::OpenInto;

use super::{station, stop};
use crate::support::{
    Station, Train,
    skopeo_layouts::{Yard, skopeo},
    tamper::Rootfs,
};

#[test]
fn a_train_in_a_layout_gets_the_same_responses_as_in_the_engine() {
    let yard = Yard::new();
    let (of_layout, of_engine) = (station("a", &yard), Station::start("b"));
    let train = Train::of(&[of_layout.seat(), of_engine.seat()]).make();
    of_layout.trust_train(&train);
    yard.take(&train);
    stop(&of_layout, &yard, &train, 0, OpenInto::Image, true);
    yard.give(&train);
    let image = &train.image;

    let (one, other) = (of_engine.inspect(image).unwrap(), of_layout.inspect(image).unwrap());
    assert_eq!((&one.train_id, &one.listed, &one.query), (&other.train_id, &other.listed, &other.query));
    assert_eq!((one.result_files, one.result_bytes), (other.result_files, other.result_bytes));
    for id in [&other.image_id, &other.base_image_id] {
        assert!(id.starts_with(&format!("{}@sha256:", train.repository)), "{id}");
    }
    assert_eq!(of_layout.inspect(&other.image_id).unwrap().listed, one.listed, "by its id");

    let hashed = |station: &Station| station.hash(image, false).unwrap().tree_digest;
    assert_eq!(hashed(&of_engine), hashed(&of_layout));
    assert_eq!(of_engine.verify(image).unwrap().stops_signed, 1);
    assert_eq!(of_layout.verify(image).unwrap().stops_signed, 1);
    let push = of_layout.check_push(image).unwrap();
    assert!(push.ok && push.findings.is_empty() && push.layers - push.base_layers == 1, "{push:?}");
    let (results, outcome) = of_layout.open_results(image, &[]).unwrap();
    assert_eq!((outcome.stops_signed, results), (1, train.expected_results(1)));
}

#[test]
fn an_opened_train_in_a_layout_is_known_and_may_not_be_pushed() {
    let yard = Yard::new();
    let station = station("a", &yard);
    let train = Train::of(&[station.seat()]).make();
    station.trust_train(&train);
    yard.take(&train);
    let run = station.pre_run(&train.image).unwrap();
    let verdict = station.check_push(&train.image).unwrap();
    assert_eq!((verdict.ok, verdict.run_id), (false, run.run_id.clone()));
    // By a station that knows nothing of the run, too.
    let other = Station::with("b").layouts(yard.path()).start();
    assert!(!other.check_push(&train.image).unwrap().ok);
    station.abort(&run.run_id).unwrap();
    assert!(other.check_push(&train.image).unwrap().ok);
}

#[test]
fn an_image_in_a_layout_is_held_against_a_master_in_a_layout() {
    let yard = Yard::new();
    let station = station("a", &yard);
    let train = Train::of(&[station.seat()]).make();
    yard.take(&train);
    let master = yard.path().join("masters/python");
    fs::create_dir_all(master.parent().unwrap()).unwrap();
    skopeo(&format!("docker-daemon:{}", train.base), &format!("oci:{}:1", master.display()), &[]);
    station.allow("masters/python");
    let verdict = station.validate(&train.image, "").unwrap();
    assert!(verdict.holds, "{verdict:?}");
    assert!(verdict.master_id.starts_with("masters/python@sha256:"), "{verdict:?}");
    let mut layer = Rootfs::default();
    layer.add_file("etc/backdoor", b"x");
    yard.commit(&train, layer.tar(), true);
    let verdict = station.validate(&train.image, "masters/python").unwrap();
    assert!(!verdict.holds && verdict.differences.iter().any(|one| one.place == "etc/backdoor"), "{verdict:?}");
}

#[test]
fn skopeo_copies_what_was_written_to_and_from_and_the_tree_stays_the_same() {
    let (yard, back) = (Yard::new(), Yard::new());
    let (first, second) = (station("a", &yard), station("a2", &back));
    let train = Train::of(&[first.seat()]).make();
    first.trust_train(&train);
    yard.take(&train);
    first.pre_run(&train.image).unwrap();
    let tree = first.hash(&train.image, false).unwrap().tree_digest;
    let archive = yard.path().join("carried.tar");
    for (through, more) in
        [("oci-archive", &[][..]), ("docker-archive", &[]), ("oci-archive", &["--dest-compress-format", "zstd"])]
    {
        let through = format!("{through}:{}", archive.display());
        skopeo(&format!("oci:{}:latest", yard.layout(&train).display()), &through, more);
        let layout = back.layout(&train);
        let _ = fs::remove_dir_all(&layout);
        fs::create_dir_all(layout.parent().unwrap()).unwrap();
        skopeo(&through, &format!("oci:{}:latest", layout.display()), more);
        assert_eq!(second.hash(&train.image, false).unwrap().tree_digest, tree, "{through} {more:?}");
        fs::remove_file(&archive).unwrap();
    }
}
