//! An image is its master with a train in it, or it is told what else it is.

use serde_json::Value;
use stationmaster::trust::Master;
use stationmaster_proto as pb;
use stationmaster_proto::validate_image_response::Event;

use super::{
    inputs::new_layout,
    masters::{At, Bad, Masters},
    offline,
};
use crate::support::{
    Peer, Refusal, Station, block_on, outcome, set,
    tamper::{Scene, commit_with, refused, saved},
};

impl Station {
    /// `ValidateImage`, to its result.
    pub fn validate(&self, image: &str, master: &str) -> Result<pb::ValidateImageResult, Refusal> {
        let request = pb::ValidateImageRequest { image: image.into(), master: master.into(), as_train_lib: true };
        block_on(async {
            let stream = self.images_client().validate_image(request).await?.into_inner();
            outcome(stream, |answer| match answer.event {
                Some(Event::Result(result)) => Some(result),
                _ => None,
            })
            .await
        })
    }

    /// Allows a master.
    pub fn allow(&self, master: &str) {
        let master = Master::parse(master, None).unwrap();
        self.edit_trust(|store| store.add_master(master.clone()).unwrap());
    }
}

fn found(result: &pb::ValidateImageResult) -> Vec<(&str, &str)> {
    result.differences.iter().map(|one| (one.what.as_str(), one.place.as_str())).collect()
}

#[test]
pub fn every_image_with_more_than_its_master_and_a_train_is_reported_beside_train_libs_verdict() {
    let scene = Scene::pinned();
    let masters = Masters::make(&scene);
    scene.station.allow(&masters.repository);
    let peer = Peer::newest();
    let their_verdict = |image: &str| {
        let answer = peer.script("validate.py", [&format!("{}:1", masters.repository), image]).unwrap();
        answer["verdict"].as_str().unwrap().to_owned()
    };
    let good = masters.good();
    let result = scene.station.validate(&good, "").unwrap();
    assert!(result.holds && result.differences.is_empty(), "{result:?}");
    assert_eq!((result.master_id, result.train_lib), (masters.id.clone(), their_verdict(&good)));
    // In archives as engines write them from 25 on it finds no files, and compares none.
    let reads_layers = scene.engine.major() < 25;
    let theirs = |before| if reads_layers { before } else { "accepted" };
    for (name, Bad { image, found: expected, train_lib }) in masters.bad() {
        let result = scene.station.validate(&image, &masters.repository).unwrap();
        assert!(!result.holds, "{name}");
        for difference in &expected {
            assert!(found(&result).contains(difference), "{name}: {difference:?} in {:?}", found(&result));
        }
        assert_eq!(
            (theirs(train_lib), result.train_lib.as_str()),
            (their_verdict(&image).as_str(), theirs(train_lib)),
            "{name}: train_lib's verdict, and ours of it"
        );
    }
    // What was changed and changed back is no difference of the final tree; train_lib counts layers.
    let changed = masters.image("changed", &[("etc/passwd-of-master", At::File("x", 0o644))], "");
    let back = masters.on(&changed, "back", &[("etc/passwd-of-master", At::File("root:x:0:0", 0o644))], "");
    let result = scene.station.validate(&back, "").unwrap();
    assert_eq!((result.holds, result.train_lib.as_str()), (true, theirs("rejected: files")), "{:?}", found(&result));
}

#[test]
pub fn the_master_is_named_by_the_station_and_by_digest_and_never_by_the_train() {
    let scene = Scene::pinned();
    let masters = Masters::make(&scene);
    let good = masters.good();
    refused("no master is allowed", scene.station.validate(&good, ""), "MASTER_UNKNOWN");
    scene.station.allow("stationmaster-test/absent");
    refused("it is not in the engine", scene.station.validate(&good, ""), "MASTER_UNKNOWN");
    scene.station.allow(&format!("{}@{}", masters.repository, masters.id));
    refused("another is asked for", scene.station.validate(&good, "stationmaster-test/other"), "MASTER_UNKNOWN");
    assert!(scene.station.validate(&good, "").unwrap().holds);
    // The master's tag moves to an image with more in it; the digest does not.
    let evil = masters.image("evil", &[("usr/lib/backdoor.so", At::File("x", 0o755))], "");
    scene.engine.tag(&evil, &masters.repository, "1");
    scene.engine.tag(&masters.id, &masters.repository, "old");
    let on_evil = masters.on(&evil, "on-evil", &[("opt/pht_train/x", At::File("x", 0o644))], "");
    let result = scene.station.validate(&on_evil, "").unwrap();
    assert_eq!((result.holds, result.master_id.as_str()), (false, masters.id.as_str()));
    assert!(scene.station.validate(&good, "").unwrap().holds);
    // An image that was not made on it.
    let result = scene.station.validate(&scene.train.image, "").unwrap();
    let broken: Vec<&str> = result.rules.iter().filter(|rule| rule.outcome == 4).map(|rule| rule.rule.as_str()).collect();
    assert!(!result.holds && broken.contains(&"layers-of-master"), "{broken:?}");
}

#[test]
fn pre_run_refuses_a_train_that_is_more_than_its_master_where_that_is_demanded() {
    let station = Station::with("a").start_pinned_and(|config| {
        set(config, "rules", "demand", vec!["master-image".to_owned()]);
    });
    let scene = Scene::with(station);
    scene.station.trust_train(&scene.train);
    refused("no master", scene.pre_run(), "MASTER_UNKNOWN");
    let base = scene.engine.find(&format!("{}:base", scene.train.repository)).unwrap();
    scene.station.allow(&format!("{}@{base}", scene.train.repository));
    let arrived = scene.engine.find(&scene.train.image).unwrap();
    commit_with(&scene.engine, &scene.train.image, "ENV LD_PRELOAD=/opt/pht_train/x.so", &scene.train.repository, "latest");
    let refusal = refused("LD_PRELOAD", scene.pre_run(), "IMAGE_POLICY_VIOLATION");
    assert!(format!("{refusal:?}").contains("master-image"), "{refusal:?}");
    scene.engine.tag(&arrived, &scene.train.repository, "latest");
    let run = scene.pre_run().unwrap();
    assert!(run.rules.iter().any(|rule| rule.rule == "master-image" && rule.outcome == 1), "{:?}", run.rules);
}

#[test]
pub fn archives_are_judged_as_the_engine_is_and_by_no_other_rules() {
    let scene = Scene::set();
    let masters = Masters::make(&scene);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, image: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, saved(image)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let master = file("master.tar", &masters.id);
    let judge = |image: &str| {
        let done = offline(&["image", "validate", "--place", image, "--master-place", &master, "--output", "json"]);
        let value: Value =
            serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr)));
        (done.status.code(), value)
    };
    let (code, value) = judge(&file("good.tar", &masters.good()));
    assert_eq!((code, &value["holds"]), (Some(0), &Value::Bool(true)), "{value}");
    for (name, Bad { image, found: expected, .. }) in masters.bad() {
        let old = file("bad.tar", &image);
        // As engines from 25 on save it, where train_lib compares nothing.
        let new = directory.path().join("new.tar");
        std::fs::write(&new, new_layout(&std::fs::read(&old).unwrap())).unwrap();
        for archive in [old.as_str(), new.to_str().unwrap()] {
            let (code, value) = judge(archive);
            assert_eq!((code, &value["holds"]), (Some(8), &Value::Bool(false)), "{name}");
            let all = value["differences"].as_array().unwrap();
            for (what, place) in &expected {
                assert!(
                    all.iter().any(|one| one["what"] == *what && one["place"] == *place),
                    "{name}: {what} {place} in {value}"
                );
            }
        }
    }
}

#[test]
fn of_two_archives_the_one_that_cannot_be_read_is_named() {
    let scene = Scene::set();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, bad) = (file("good.tar", &saved(&scene.train.image)), file("bad.tar", b"no archive"));
    for (image, master, names_master) in [(&good, &bad, true), (&bad, &good, false)] {
        let done = offline(&["image", "validate", "--place", image, "--master-place", master]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!((done.status.success(), said.contains("the master: ")), (false, names_master), "{said}");
    }
}

#[test]
fn a_master_that_is_newer_than_the_image_is_reported() {
    let scene = Scene::pinned();
    let masters = Masters::make(&scene);
    let good = masters.good();
    // Images' times are in whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let newer = masters.image("newer", &[("usr/lib/update", At::File("x", 0o644))], "");
    let id = scene.engine.find(&newer).unwrap();
    scene.engine.tag(&id, &masters.repository, "2");
    scene.station.allow(&format!("{}@{id}", masters.repository));
    let result = scene.station.validate(&good, "").unwrap();
    let note = result.rules.iter().find(|rule| rule.rule == "layers-of-master").map(|rule| rule.note.as_str());
    assert!(!result.holds && note.is_some_and(|note| note.contains("the master is newer than the image")), "{result:?}");
}
