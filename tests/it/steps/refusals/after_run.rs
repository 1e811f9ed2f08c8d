//! What a run may not do, and what post-run takes along: the results, the code as it was, and nothing else.

use serde_json::Value;

use crate::support::{
    Engine, Station, Train,
    tamper::{Before, RESULTS, Rootfs, Scene, commit_with, history, holds, inspected, refused, run_script, saved},
};

/// A scene whose train is open.
fn opened() -> (Scene, String) {
    let scene = Scene::set();
    let run = scene.pre_run().unwrap();
    (scene, run.run_id)
}

/// A run does this to the immutable files: refused, the run stays open, and a run that does not is sealed.
fn a_change_of_the_code_is_refused(script: &str) {
    let (scene, run_id) = opened();
    let open = scene.engine.find(&scene.train.image).unwrap();
    let bad = run_script(&scene.engine, &scene.train.image, &format!("{RESULTS}; {script}"));
    let before = Before::of(&scene.engine, &scene.train);
    let refusal = refused(script, scene.station.post_run(&run_id), "IMAGE_POLICY_VIOLATION");
    assert_eq!(refusal.metadata["rule"], "immutable-files-unchanged");
    before.assert(&scene.station, script);

    scene.engine.tag(&open, &scene.train.repository, "latest");
    scene.engine.untag(&bad);
    let again = scene.pre_run().unwrap();
    assert!(again.repeated_answer && again.run_id == run_id, "the run is not open any more: {again:?}");
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run_id).unwrap();
    assert_eq!(scene.train.open(&[]).code, scene.train.code());
}

#[test]
fn a_run_that_changed_its_code_is_refused() {
    a_change_of_the_code_is_refused("echo more >> /opt/pht_train/run.sh");
}

#[test]
fn a_run_that_deleted_some_of_its_code_is_refused() {
    a_change_of_the_code_is_refused("rm /opt/pht_train/data.bin");
}

#[test]
fn a_run_that_changed_its_query_is_refused() {
    a_change_of_the_code_is_refused("echo '{}' > /opt/pht_train/query.json");
}

#[test]
fn a_run_that_left_a_link_among_its_results_is_refused() {
    let (scene, run_id) = opened();
    run_script(&scene.engine, &scene.train.image, "ln -s /etc/passwd /opt/pht_results/passwd");
    let before = Before::of(&scene.engine, &scene.train);
    let refusal = refused("a link", scene.station.post_run(&run_id), "IMAGE_POLICY_VIOLATION");
    assert_eq!(refusal.metadata["rule"], "no-links-or-special-files");
    before.assert(&scene.station, "a link");
}

#[test]
fn what_a_run_adds_outside_the_results_is_dropped_and_reported() {
    let (scene, run_id) = opened();
    let script = format!("{RESULTS}; echo x > /opt/pht_train/extra; mkdir /opt/own; echo y > /opt/own/file");
    run_script(&scene.engine, &scene.train.image, &script);
    let closed = scene.station.post_run(&run_id).unwrap();
    for path in ["pht_train/extra", "own/file"] {
        assert!(closed.dropped_files.iter().any(|dropped| dropped == path), "{path} is not said: {:?}", closed.dropped_files);
    }
    assert!(!closed.warnings.is_empty());
    let left = scene.rootfs().below("opt");
    assert!(!left.contains("pht_train/extra") && !left.contains("own/file"), "{left:?}");
    assert_eq!(scene.train.open(&[]).code, scene.train.code());
}

#[test]
fn a_run_cannot_change_the_trains_config() {
    let (scene, run_id) = opened();
    let script = format!(r#"{RESULTS}; sed -i 's/"station":"a"/"station":"x"/; s/"index":0/"index":5/' /opt/train_config.json"#);
    run_script(&scene.engine, &scene.train.image, &script);
    assert_ne!(scene.rootfs().config()["route"][0]["station"], "a", "the run changed nothing");
    scene.station.post_run(&run_id).unwrap();
    // The creator compares route, session, digest and code with what was made.
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
}

#[test]
fn a_run_that_destroyed_the_trains_config_is_sealed_nevertheless() {
    let (scene, run_id) = opened();
    run_script(&scene.engine, &scene.train.image, &format!("{RESULTS}; rm /opt/train_config.json"));
    scene.station.post_run(&run_id).unwrap();
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
}

#[test]
fn an_image_of_another_train_is_not_taken_for_a_run() {
    let (scene, run_id) = opened();
    let other = Train::of(&[scene.station.seat()]).make();
    let foreign = scene.station.pre_run(&other.image).unwrap();
    let (before, others) = (Before::of(&scene.engine, &scene.train), Before::of(&scene.engine, &other));
    let answer = scene.station.post_run_of(&run_id, &other.image);
    let refusal = refused("another train's image", answer, "IMAGE_POLICY_VIOLATION");
    assert_eq!(refusal.metadata["rule"], "image-of-this-run");
    before.assert(&scene.station, "another train's image");
    others.assert(&scene.station, "another train's image");
    scene.station.post_run_without_results(&foreign.run_id).unwrap();
    scene.station.post_run_without_results(&run_id).unwrap();
}

#[test]
fn the_sealed_image_is_not_taken_for_its_own_run() {
    let (scene, run_id) = opened();
    let sealed = scene.engine.find(&scene.train.base).unwrap();
    let open = scene.engine.find(&scene.train.image).unwrap();
    scene.engine.tag(&sealed, &scene.train.repository, "latest");
    let before = Before::of(&scene.engine, &scene.train);
    let refusal = refused("what came", scene.station.post_run(&run_id), "IMAGE_POLICY_VIOLATION");
    assert_eq!(refusal.metadata["rule"], "image-of-this-run");
    before.assert(&scene.station, "what came");
    scene.engine.tag(&open, &scene.train.repository, "latest");
    scene.station.post_run_without_results(&run_id).unwrap();
}

/// A scene whose base, and whose train with it, holds more than the builder signed.
fn with_extras() -> Scene {
    let scene = Scene::set();
    let mut rootfs = scene.rootfs();
    for path in ["opt/pht_results/of-base", "opt/pht_results/d/deep", "opt/pht_train/of-base", "opt/pht_train/d/deep"] {
        rootfs.add_file(path, b"SHINES-THROUGH");
    }
    let id = rootfs.put(&scene.engine, &scene.train.repository, "base");
    commit_with(&scene.engine, &id, "CMD [\"/bin/sh\"]", &scene.train.repository, "base");
    let id = scene.engine.find(&scene.train.base).unwrap();
    scene.engine.tag(&id, &scene.train.repository, "latest");
    scene
}

#[test]
fn nothing_of_base_or_of_the_arriving_image_shines_through() {
    let scene = with_extras();
    let unsigned = |rootfs: &Rootfs| -> Vec<String> {
        rootfs.below("opt").into_iter().filter(|path| path.ends_with("of-base") || path.ends_with("deep")).collect()
    };
    assert_eq!(unsigned(&scene.rootfs()).len(), 4);
    let run = scene.pre_run().unwrap();
    assert_eq!(run.dropped_files, ["d/deep", "of-base"]);
    assert_eq!(unsigned(&scene.rootfs()), [""; 0], "the opened image");
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&run.run_id).unwrap();
    assert_eq!(unsigned(&scene.rootfs()), [""; 0], "the sealed image");
    let results: Vec<String> = scene.train.open(&[]).files.into_keys().collect();
    assert_eq!(results, ["d/a", "empty"]);
}

#[test]
fn a_result_that_a_later_run_deletes_is_gone() {
    let (engine, first, second) = (Engine::connect(), Station::start("a"), Station::start("b"));
    let train = Train::of(&[first.seat(), second.seat()]).make();
    let run = first.pre_run(&train.image).unwrap();
    run_script(&engine, &train.image, RESULTS);
    first.post_run(&run.run_id).unwrap();
    let hash = train.open(&[]).result_hash;
    let run = second.pre_run(&train.image).unwrap();
    run_script(&engine, &train.image, "rm -r /opt/pht_results/d; echo new > /opt/pht_results/new");
    second.post_run(&run.run_id).unwrap();
    let files: Vec<String> = train.open(&[hash]).files.into_keys().collect();
    assert_eq!(files, ["empty", "new"]);
}

#[test]
fn no_layer_of_a_sealed_image_holds_plaintext() {
    let (scene, run_id) = opened();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let open = saved(&scene.train.image);
    for canary in scene.train.canaries() {
        assert!(holds(&open, canary), "an opened image shows what it must show, or the search is blind");
    }
    scene.station.post_run(&run_id).unwrap();
    let sealed = saved(&scene.train.image);
    for canary in scene.train.canaries() {
        assert!(!holds(&sealed, canary), "plaintext in a layer: {}", String::from_utf8_lossy(canary));
    }
}

#[test]
fn settings_and_history_are_carried_over_and_one_layer_is_added() {
    let scene = Scene::set();
    let changes = "ENV A=\"b c\"\nLABEL org.example=\"x y\"\nENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"true && false\"]\nWORKDIR /opt\n\
        EXPOSE 80/tcp\nUSER 1000\nVOLUME /data\nONBUILD RUN true";
    commit_with(&scene.engine, &scene.train.base, changes, &scene.train.repository, "base");
    let base = scene.engine.find(&scene.train.base).unwrap();
    scene.engine.tag(&base, &scene.train.repository, "latest");
    let facts = |image: &str| {
        let image = inspected(image);
        let layers = image.root_fs.and_then(|root| root.layers).unwrap();
        (serde_json::to_value(image.config).unwrap(), layers, image.architecture, image.os)
    };
    let told = |image: &str| -> Vec<Value> {
        let entry = |entry: bollard::models::ImageHistoryResponseItem| {
            serde_json::json!([entry.created, entry.created_by, entry.comment, entry.size])
        };
        history(image).into_iter().rev().map(entry).collect()
    };
    let (before, history_before) = (facts(&base), told(&base));
    assert_eq!(before.0["Env"], serde_json::json!(["A=b c"]), "the base has no settings to carry over");
    let carried = |what: &str| {
        let (after, history) = (facts(&scene.train.image), told(&scene.train.image));
        assert_eq!(after.0, before.0, "{what}: settings");
        assert_eq!((&after.2, &after.3), (&before.2, &before.3), "{what}: platform");
        assert_eq!(after.1[..before.1.len()], before.1[..], "{what}: layers");
        assert_eq!(after.1.len(), before.1.len() + 1, "{what}: one layer more");
        assert_eq!(history[..history_before.len()], history_before[..], "{what}: history");
        assert_eq!(history.len(), history_before.len() + 1, "{what}: one entry more");
    };
    let run = scene.pre_run().unwrap();
    carried("pre-run");
    scene.station.post_run_without_results(&run.run_id).unwrap();
    carried("post-run");
}
