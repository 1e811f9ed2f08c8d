//! Layers that engines take in another way than they look: whatever a container would see of them beside the train, the comparison with the master
//! sees it too, or refuses the image.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType::{self, Directory, Link, Regular, Symlink};

use super::{
    masters::Masters,
    offline,
    places::{archive_of, files_of},
};
use crate::support::{
    Engine,
    tamper::{Entry, Rootfs, Scene, load, saved},
};

/// What the attacks are made on.
const MASTER: [(&str, EntryType, u32, &str); 7] = [
    ("data", Directory, 0o755, ""),
    ("data/model", Regular, 0o644, "model"),
    ("private", Directory, 0o700, ""),
    ("private/key", Regular, 0o600, "key"),
    ("library", Directory, 0o755, ""),
    ("library/c.so", Regular, 0o644, "c"),
    ("lib-link", Symlink, 0o777, "library"),
];

fn entry(path: &str, kind: EntryType, mode: u32, content: &str) -> Entry {
    let is_link = matches!(kind, Symlink | Link);
    Entry {
        path: path.into(),
        kind,
        mode,
        link: if is_link { content.into() } else { String::new() },
        content: if is_link { Vec::new() } else { content.into() },
        pax: Vec::new(),
    }
}

fn layer(entries: &[(&str, EntryType, u32, &str)]) -> Vec<u8> {
    Rootfs::from(entries.iter().map(|(path, kind, mode, content)| entry(path, *kind, *mode, content)).collect::<Vec<_>>()).tar()
}

fn file(path: &str) -> (&str, EntryType, u32, &str) {
    (path, Regular, 0o644, "")
}

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

/// What a container sees besides the train and what the engine puts there.
fn seen(engine: &Engine, image: &str) -> BTreeSet<String> {
    let engines = ["opt", "dev", "proc", "sys", ".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"];
    let is_its_own = |entry: &&Entry| engines.iter().any(|one| entry.path == *one || entry.path.starts_with(&format!("{one}/")));
    let rootfs = Rootfs::of(engine, image);
    rootfs.entries().iter().filter(|entry| !is_its_own(entry)).map(|entry| format!("{entry:?}")).collect()
}

/// Layers to lay over the master, by what they try.
fn attacks() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let evil = layer(&[("data", Directory, 0o755, ""), file("data/evil.so")]);
    let data = ("data", Directory, 0o755, "");
    let model = ("data/model", Regular, 0o644, "model");
    // To readers that split records at newlines this is a whiteout of nothing.
    let mut hidden = entry("library/hidden.so", Regular, 0o644, "x");
    hidden.pax.push(("SCHILY.xattr.user.a".into(), b"\n25 path=opt/.wh.nothing1\n".to_vec()));
    vec![
        ("a hard link's mode is the file's", vec![layer(&[data, model, ("opt/pht_train/l", Link, 0o4777, "data/model")])]),
        ("a file is the train's, too", vec![layer(&[data, model, ("opt/pht_train/l", Link, 0o644, "data/model")])]),
        ("a directory is made anew over one that is hidden", vec![evil.clone(), layer(&[file(".wh.data"), data, model])]),
        ("the same in the other order", vec![evil.clone(), layer(&[data, model, file(".wh.data")])]),
        ("a file is removed after it was brought", vec![layer(&[data, model, file("data/.wh.model")])]),
        ("a directory becomes a file and one again", vec![evil, layer(&[("data", Regular, 0o644, ""), data, model])]),
        ("a whiteout below a link", vec![layer(&[file("lib-link/.wh.c.so")])]),
        ("a whiteout below a link that is there", vec![layer(&[MASTER[6], file("lib-link/.wh.c.so")])]),
        ("a directory that is left out", vec![layer(&[file("private/.wh.nothing")])]),
        ("a directory that is left out around what was there", vec![layer(&[MASTER[3]])]),
        ("a name that an attribute hides", vec![Rootfs::from(vec![hidden]).tar()]),
        ("the root's own mode", vec![layer(&[(".", Directory, 0o777, "")])]),
        ("a directory of the train's with an attribute", {
            let mut directory = entry("opt/pht_train", Directory, 0o755, "");
            directory.pax.push(("SCHILY.xattr.user.a".into(), b"x".to_vec()));
            vec![Rootfs::from(vec![directory]).tar()]
        }),
    ]
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

    let (mut taken, mut effective) = (0, 0);
    for (number, (what, layers)) in attacks().iter().enumerate() {
        let name = format!("{}:attack-{number}", scene.train.repository);
        let attacked = with_layers(&archive, layers, &name);
        std::fs::write(at("attacked.tar"), &attacked).unwrap();
        let done = offline(&["image", "validate", "--place", &at("attacked.tar"), "--master-place", &at("master.tar")]);
        assert!(!done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stdout));
        // Some engines refuse some of them: so much the better.
        if load(&attacked).is_ok() {
            let result = scene.station.validate(&name, "");
            assert!(!matches!(&result, Ok(result) if result.holds), "{what} passed: {result:?}");
            taken += 1;
            effective += usize::from(seen(&scene.engine, &name) != before);
        }
    }
    assert!(taken >= 5 && effective >= 3, "they are no attacks: {taken} were taken, {effective} had an effect");

    // What engines agree on is no attack: a file written again behind its whiteout, and one that comes and goes.
    let honest = [
        layer(&[("data", Directory, 0o755, ""), file("data/.wh.model"), ("data/model", Regular, 0o644, "model"), file("data/x")]),
        layer(&[("data", Directory, 0o755, ""), file("data/.wh.x")]),
    ];
    let name = format!("{}:honest", scene.train.repository);
    load(&with_layers(&archive, &honest, &name)).expect("the engine takes them");
    let result = scene.station.validate(&name, "").unwrap();
    assert!(result.holds, "{:?}", result.differences);
    assert_eq!(seen(&scene.engine, &name), before);
}
