//! Layers that engines take in another way than they look: whatever a container would see of them beside the train, the comparison with the master
//! sees it too, or refuses the image.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType::{Directory, Regular};

use super::{
    attacks::{MASTER, attacks, file, layer},
    inputs::{archive_of, files_of},
    masters::Masters,
    offline,
};
use crate::support::{
    Engine,
    tamper::{Entry, Rootfs, Scene, load, saved},
};

/// An image that was saved, with more layers, which the engine takes as they are.
fn with_layers(image: &[u8], layers: &[Vec<u8>], name: &str) -> Vec<u8> {
    let mut files = files_of(image);
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let mut names: Vec<Value> = manifest[0]["Layers"].as_array().unwrap().clone();
    let mut config: Value = serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
    for (number, layer) in layers.iter().enumerate() {
        let digest = format!("sha256:{}", const_hex::encode(Sha256::digest(layer)));
        config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(digest));
        config["history"].as_array_mut().unwrap().push(json!({ "created": "2026-01-01T00:00:00Z", "created_by": "attack" }));
        let place = format!("above-{number}/layer.tar");
        names.push(json!(place));
        files.insert(place, layer.clone());
    }
    let config = config.to_string();
    let place = format!("{}.json", const_hex::encode(Sha256::digest(&config)));
    let manifest = json!([{ "Config": place, "RepoTags": [name], "Layers": names }]);
    for other in ["index.json", "oci-layout", "repositories"] {
        files.remove(other);
    }
    files.insert(place, config.into_bytes());
    files.insert("manifest.json".into(), manifest.to_string().into_bytes());
    archive_of(&files)
}

/// What a container sees, without plain files of the train and what the engine puts there.
fn seen(engine: &Engine, image: &str) -> BTreeSet<String> {
    let engines = ["dev", "proc", "sys", ".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"];
    let is_its_own = |entry: &&Entry| {
        let is_plain = matches!(entry.kind, Directory | Regular) && entry.mode & 0o6000 == 0;
        let lies = |one: &str| entry.path == one || entry.path.starts_with(&format!("{one}/"));
        engines.iter().any(|one| lies(one)) || lies("opt") && is_plain
    };
    let rootfs = Rootfs::of(engine, image);
    rootfs.entries().iter().filter(|entry| !is_its_own(entry)).map(|entry| format!("{entry:?}")).collect()
}

#[test]
pub fn what_an_engine_makes_of_a_layer_is_never_more_than_what_was_compared() {
    let scene = Scene::pinned();
    let masters = Masters::make(&scene);
    let master = masters.on(&masters.id, "attacked", &[], "");
    let archive = with_layers(&saved(&master), &[layer(&MASTER)], &master);
    load(&archive).expect("the engine takes a layer as it is");
    let id = scene.engine.find(&master).unwrap();
    scene.engine.tag(&id, &masters.repository, "attacked");
    scene.station.allow(&format!("{}@{id}", masters.repository));
    let (before, archive) = (seen(&scene.engine, &master), saved(&master));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("master.tar"), &archive).unwrap();

    let judged = |image: &[u8]| {
        std::fs::write(at("image.tar"), image).unwrap();
        offline(&["image", "validate", "--place", &at("image.tar"), "--master-place", &at("master.tar")])
    };
    let (mut taken, mut effective, mut passed) = (0, Vec::new(), Vec::new());
    for (number, (what, layers)) in attacks(&scene.rootfs()).iter().enumerate() {
        let name = format!("{}:attack-{number}", scene.train.repository);
        let attacked = with_layers(&archive, layers, &name);
        if judged(&attacked).status.success() {
            passed.push(format!("{what}, as an archive"));
        }
        // Some engines refuse some of them: so much the better.
        if load(&attacked).is_ok() {
            match scene.station.validate(&name, "") {
                Ok(result) if result.holds => passed.push(format!("{what}, in the engine")),
                _ => {}
            }
            taken += 1;
            if seen(&scene.engine, &name) != before {
                effective.push(*what);
            }
        }
    }
    println!("{taken} were taken; with an effect: {effective:#?}");
    assert!(passed.is_empty(), "attacks passed: {passed:#?}");
    assert!(taken >= 5 && effective.len() >= 3, "they are no attacks: {taken} were taken, {effective:?} had an effect");

    // What engines agree on is no attack: a file written again behind its whiteout, and one that comes and goes.
    let honest = [
        layer(&[("data", Directory, 0o755, ""), file("data/.wh.model"), ("data/model", Regular, 0o644, "model"), file("data/x")]),
        layer(&[("data", Directory, 0o755, ""), file("data/.wh.x")]),
    ];
    let name = format!("{}:honest", scene.train.repository);
    let image = with_layers(&archive, &honest, &name);
    let done = judged(&image);
    assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    load(&image).expect("the engine takes them");
    let result = scene.station.validate(&name, "").unwrap();
    assert!(result.holds, "{:?}", result.differences);
    assert_eq!(seen(&scene.engine, &name), before);
}
