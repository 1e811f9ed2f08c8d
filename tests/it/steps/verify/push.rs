//! What may leave a station, and what may not.

use stationmaster_proto::CheckPushResult;

use super::{broken, note, rules_that};
use crate::support::{
    Engine, LibStation, Mode, Peer, Seat, Station, Train,
    mounts::BESIDE,
    tamper::{RESULTS, Scene, run_script},
};

/// A train at a train_lib station, opened there; and a station of ours that looks.
struct AtLib {
    engine: Engine,
    looks: Station,
    lib: LibStation,
    train: Train,
    _directory: tempfile::TempDir,
}

impl AtLib {
    fn opened() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lib = Peer::new("2.0.6a0").station("lib", 2048, directory.path());
        let looks = Station::start("a");
        let train = Train::of(&[Seat { id: lib.id.clone(), hex_pem: lib.hex_pem.clone() }, looks.seat()]).make();
        lib.pre_run(&train.image).unwrap();
        Self { engine: Engine::connect(), looks, lib, train, _directory: directory }
    }

    fn verdict(&self) -> CheckPushResult {
        self.looks.check_push(&self.train.image).unwrap()
    }
}

fn paths<'a>(verdict: &'a CheckPushResult, rule: &str) -> Vec<&'a str> {
    verdict.findings.iter().filter(|finding| finding.rule == rule).map(|finding| finding.path.as_str()).collect()
}

#[test]
fn a_train_that_a_run_of_ours_has_open_may_not_leave_whatever_it_is_called() {
    let scene = Scene::set();
    assert!(scene.station.check_push(&scene.train.image).unwrap().ok, "as it came");
    let run = scene.pre_run().unwrap();
    let refused = |what: &str, image: &str| {
        let verdict = scene.station.check_push(image).unwrap();
        assert_eq!((verdict.ok, &verdict.run_id), (false, &run.run_id), "{what}: {verdict:?}");
        assert!(note(&verdict.rules, "no-plaintext-layers").contains(&run.run_id), "{what}: {verdict:?}");
        assert_eq!(broken(&verdict.rules), ["no-plaintext-layers"]);
    };
    refused("the opened image", &scene.train.image);
    refused("the opened image by its id", &run.image_id);
    run_script(&scene.engine, &scene.train.image, RESULTS);
    refused("the image after the run", &scene.train.image);
    let ran = scene.engine.find(&scene.train.image).unwrap();
    scene.engine.tag(&ran, &scene.train.repository, "ran");
    refused("the same by another name", &format!("{}:ran", scene.train.repository));
    scene.station.post_run(&run.run_id).unwrap();
    assert!(scene.station.check_push(&scene.train.image).unwrap().ok, "sealed");
    refused("what the results were sealed from", &format!("{}:ran", scene.train.repository));
}

#[test]
fn a_train_that_is_opened_beside_its_image_leaves_that_as_it_came() {
    for into in BESIDE {
        let scene = Scene::set();
        let run = scene.station.open_into(&scene.train.image, into).unwrap();
        let verdict = scene.station.check_push(&scene.train.image).unwrap();
        assert!(verdict.ok && verdict.run_id.is_empty(), "{into:?}: {verdict:?}");
        scene.station.abort(&run.run_id).unwrap();
    }
}

#[test]
fn an_opened_train_of_another_station_is_found_by_its_content() {
    let at = AtLib::opened();
    let verdict = at.verdict();
    assert_eq!((verdict.ok, verdict.run_id.as_str()), (false, ""));
    let plain = paths(&verdict, "no-plaintext-layers");
    assert!(plain.contains(&"opt/pht_train/run.sh") && plain.contains(&"opt/pht_train/query.json"), "{verdict:#?}");
}

#[test]
fn an_image_that_train_lib_did_not_rebase_shows_plaintext_in_lower_layers() {
    let at = AtLib::opened();
    Peer::newest().run_train(&at.train.image, Mode::Commit, &[]);
    at.lib.post_run_without_rebase(&at.train.image).unwrap();
    assert!(at.looks.verify(&at.train.image).unwrap().holds, "what a container sees is sealed");
    let verdict = at.verdict();
    assert!(!verdict.ok);
    let plain = paths(&verdict, "no-plaintext-layers");
    assert!(plain.contains(&"opt/pht_train/run.sh") && plain.contains(&"opt/pht_results/log.txt"), "{verdict:#?}");
    assert!(verdict.findings.iter().all(|finding| finding.layer >= verdict.base_layers && finding.layer + 1 < verdict.layers));
    assert!(verdict.findings.iter().all(|finding| finding.layer_digest.starts_with("sha256:") && !finding.why.is_empty()));
}

#[test]
fn a_hard_linked_result_that_train_lib_left_plain_is_found() {
    let at = AtLib::opened();
    let script = "i=0; while [ $i -lt 99 ]; do echo row-$i >> /opt/pht_results/a; i=$((i+1)); done; ln /opt/pht_results/a /opt/pht_results/b";
    run_script(&at.engine, &at.train.image, script);
    at.lib.post_run(&at.train.image).unwrap();
    let verdict = at.verdict();
    assert!(!verdict.ok);
    let found: Vec<&str> = verdict.findings.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(found, ["opt/pht_results/b"], "{verdict:#?}");
}

#[test]
fn something_else_in_opt_is_found_unless_its_base_has_it_too() {
    let at = AtLib::opened();
    run_script(&at.engine, &at.train.image, &format!("{RESULTS}; echo PLAINTEXT > /opt/other.txt"));
    at.lib.post_run(&at.train.image).unwrap();
    let verdict = at.verdict();
    assert_eq!((verdict.ok, broken(&verdict.rules)), (false, vec!["opt-allow-list"]), "{verdict:#?}");
    assert_eq!(paths(&verdict, "opt-allow-list"), ["opt/other.txt"]);
    // Without the base it cannot be attributed, and the report says so.
    at.engine.untag(&at.train.base);
    let verdict = at.verdict();
    assert_eq!((verdict.ok, verdict.base_layers), (true, 0), "{verdict:#?}");
    assert!(rules_that(&verdict.rules, stationmaster_proto::RuleOutcome::NotCheckable).contains(&"opt-allow-list"));
    assert!(note(&verdict.rules, "no-plaintext-layers").contains("base"), "{verdict:#?}");
}

#[test]
fn what_the_base_has_in_opt_may_come_again() {
    let scene = Scene::set();
    let mut base = scene.rootfs();
    base.add_file("opt/tool", b"a tool of the master image");
    base.add("opt/link", tar::EntryType::Symlink, "tool");
    base.put(&scene.engine, &scene.train.repository, "base");
    // A layer over it that carries all of /opt once more, as train_lib's rebase does.
    let rebased = |script: &str| {
        scene.engine.tag(&scene.train.base, &scene.train.repository, "latest");
        run_script(&scene.engine, &scene.train.image, script);
        scene.station.check_push(&scene.train.image).unwrap()
    };
    let same = rebased("cp /opt/tool /opt/x; rm /opt/tool /opt/link; mv /opt/x /opt/tool; ln -s tool /opt/link");
    assert!(same.ok, "{same:#?}");
    let changed = rebased("echo PLAINTEXT >> /opt/tool; rm /opt/link; ln -s PLAINTEXT /opt/link");
    assert_eq!(paths(&changed, "opt-allow-list"), ["opt/link", "opt/tool"], "{changed:#?}");
    let elsewhere = rebased("echo PLAINTEXT > /var-result; echo x > /opt/user_sym_key.key; echo x > /opt/train_config.json");
    let plain = paths(&elsewhere, "no-plaintext-layers");
    assert_eq!(plain, ["opt/train_config.json", "var-result"], "{elsewhere:#?}");
}
