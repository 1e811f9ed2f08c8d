//! `HashImage`: digests that anyone can recompute, and none that would open what is not ours.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::support::{
    Station, Train,
    tamper::{RESULTS, Rootfs, Scene, inspected, refused, run_script, saved},
};

/// A path of the final tree, as `docs/tree-digest.md` tells.
#[derive(Clone)]
struct Node {
    kind: EntryType,
    mode: u32,
    link: String,
    content: Vec<u8>,
    owner: (u64, u64),
    device: (u32, u32),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

type Tree = BTreeMap<String, Node>;

fn below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// Lays a layer over a tree.
fn lay(tree: &mut Tree, layer: &[u8]) {
    // Where it means nothing the field may be blank.
    let number = |field: std::io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
    let name = |path: &str| path.trim_start_matches("./").trim_end_matches('/').to_owned();
    let mut entries = Vec::new();
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = name(std::str::from_utf8(&entry.path_bytes()).unwrap());
        let xattrs = entry.pax_extensions().unwrap().into_iter().flatten().filter_map(|record| {
            let record = record.unwrap();
            Some((record.key_bytes().strip_prefix(b"SCHILY.xattr.")?.to_vec(), record.value_bytes().to_vec()))
        });
        let xattrs = xattrs.collect();
        let header = entry.header().clone();
        let device = (number(header.device_major()), number(header.device_minor()));
        let link = entry.link_name_bytes().map(|link| String::from_utf8(link.into_owned()).unwrap()).unwrap_or_default();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        let mode = header.mode().unwrap() & 0o7777;
        entries.push((path, Node { kind: header.entry_type(), mode, link, content, owner, device, xattrs }));
    }
    for (path, _) in &entries {
        let (directory, last) = path.rsplit_once('/').unwrap_or(("", path));
        if last == ".wh..wh..opq" {
            tree.retain(|path, _| !(directory.is_empty() || below(path, directory)));
        } else if let Some(hidden) = last.strip_prefix(".wh.") {
            let hidden = if directory.is_empty() { hidden.to_owned() } else { format!("{directory}/{hidden}") };
            tree.retain(|path, _| *path != hidden && !below(path, &hidden));
        }
    }
    for (path, mut node) in entries {
        if path.is_empty() || path.rsplit('/').next().unwrap().starts_with(".wh.") {
            continue;
        }
        if node.kind == EntryType::Link {
            node = tree[&name(&node.link)].clone();
        }
        for (at, _) in path.match_indices('/') {
            let implied = Node {
                kind: EntryType::Directory,
                mode: 0o755,
                link: String::new(),
                content: vec![],
                owner: (0, 0),
                device: (0, 0),
                xattrs: BTreeMap::new(),
            };
            tree.entry(path[..at].to_owned()).or_insert(implied);
        }
        if node.kind != EntryType::Directory {
            tree.retain(|other, _| !below(other, &path));
        }
        tree.insert(path, node);
    }
}

/// The digest of an image's final tree, and the number of its entries, from what `docker save` ships.
fn tree_digest(image: &str) -> ([u8; 32], u64) {
    let mut archive = Rootfs::read(&saved(image));
    let manifest: Value = serde_json::from_slice(archive.content("manifest.json")).unwrap();
    let mut tree = Tree::new();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        let mut path = layer.as_str().unwrap().to_owned();
        // A layer that comes twice is a link to the first.
        while !archive.entry(&path).link.is_empty() {
            path = archive.entry(&path).link.trim_start_matches("../").to_owned();
        }
        lay(&mut tree, archive.content(&path));
    }
    let mut hash = Sha256::new();
    hash.update("stationmaster file tree v1\n");
    let mut field = |bytes: &[u8]| {
        hash.update(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        hash.update(bytes);
    };
    for (path, node) in &tree {
        let kind = match node.kind {
            EntryType::Directory => "directory",
            EntryType::Symlink => "symlink",
            EntryType::Char => "character",
            EntryType::Block => "block",
            EntryType::Fifo => "fifo",
            _ => "file",
        };
        field(path.as_bytes());
        field(kind.as_bytes());
        field(&node.mode.to_be_bytes());
        field(&node.owner.0.to_be_bytes());
        field(&node.owner.1.to_be_bytes());
        field(if kind == "symlink" { node.link.as_bytes() } else { b"" });
        let device = [node.device.0.to_be_bytes(), node.device.1.to_be_bytes()].concat();
        field(if ["character", "block"].contains(&kind) { &device } else { b"" });
        field(&u32::try_from(node.xattrs.len()).unwrap().to_be_bytes());
        for (name, value) in &node.xattrs {
            field(name);
            field(value);
        }
        let content = Sha256::digest(&node.content);
        field(if kind == "file" { &content } else { b"" });
    }
    (hash.finalize().into(), tree.len() as u64)
}

#[test]
fn the_digest_of_a_file_tree_is_the_one_that_anyone_recomputes() {
    let scene = Scene::set();
    let mut rootfs = scene.rootfs();
    rootfs.add("odd", EntryType::Directory, "");
    rootfs.add("odd/null", EntryType::Char, "");
    rootfs.add("odd/pipe", EntryType::Fifo, "");
    rootfs.add_file("odd/set-id", b"x");
    rootfs.entry("odd/set-id").mode = 0o4755;
    rootfs.add_file("odd/capable", b"y");
    // CAP_NET_BIND_SERVICE, as the kernel stores it.
    let capability = [&[1, 0, 0, 2, 0, 4][..], &[0; 14]].concat();
    rootfs.entry("odd/capable").pax.push(("SCHILY.xattr.security.capability".into(), capability));
    rootfs.add("odd/hard", EntryType::Link, "odd/set-id");
    rootfs.entry("odd/hard").mode = 0o4755;
    rootfs.add_file("odd/sub/a", b"a");
    rootfs.add_file("odd/sub/b", b"b");
    rootfs.add_file(&format!("odd/{}/{}", "long".repeat(30), "name".repeat(30)), b"long");
    rootfs.add_file("gone", b"gone");
    rootfs.put(&scene.engine, &scene.train.repository, "odd");
    let image = format!("{}:odd", scene.train.repository);
    let one_layer = scene.station.hash(&image, false).unwrap();
    assert_eq!((one_layer.tree_digest, one_layer.tree_entries), (tree_digest(&image).0.to_vec(), tree_digest(&image).1));

    // A second layer with whiteouts, a directory made anew, a file where a directory was and the other way round.
    run_script(
        &scene.engine,
        &image,
        "rm gone; cd odd; rm -r sub; mkdir sub; echo new > sub/c; rm pipe; mkdir pipe; : > pipe/x; chown 5:6 set-id; ln set-id again; ln -s a link",
    );
    let ours = scene.station.hash(&image, false).unwrap();
    let (digest, entries) = tree_digest(&image);
    assert_eq!((ours.tree_digest.as_slice(), ours.tree_entries), (&digest[..], entries));
    assert_ne!(ours.tree_digest, scene.station.hash(&scene.train.image, false).unwrap().tree_digest);
    assert_eq!(ours.image_id, scene.engine.find(&image).unwrap());
}

#[test]
fn the_digest_of_a_file_tree_is_the_same_however_its_layers_are_cut() {
    let scene = Scene::set();
    let repository = &scene.train.repository;
    // Flattened once, for what a container adds of its own.
    scene.rootfs().put(&scene.engine, repository, "layers");
    let (layers, flat) = (format!("{repository}:layers"), format!("{repository}:flat"));
    let digest = |image: &str| scene.station.hash(image, false).unwrap().tree_digest;
    let before = digest(&layers);
    run_script(&scene.engine, &layers, "mkdir -p /new/x; echo x > /new/x/y; rm /bin/yes");
    run_script(&scene.engine, &layers, "rm -r /new/x; mkdir /new/x; echo z > /new/x/z");
    Rootfs::of(&scene.engine, &layers).put(&scene.engine, repository, "flat");
    assert_eq!(inspected(&flat).root_fs.unwrap().layers.unwrap().len(), 1);
    assert_eq!(digest(&layers), digest(&flat));
    assert_ne!(digest(&flat), before);
}

#[test]
fn a_train_has_the_same_digests_sealed_and_open() {
    let scene = Scene::set();
    let digests = |open: bool| {
        let answer = scene.station.hash(&scene.train.image, true).unwrap();
        assert!(answer.tree_digest.is_empty(), "the tree was not asked for");
        let train = answer.train.expect("digests of the train");
        assert_eq!((train.sealed, train.immutable_matches), (!open, true));
        (train.immutable_digest, train.results_digest)
    };
    let sealed = digests(false);
    assert_eq!(sealed.0, scene.train.immutable_digest());
    let run = scene.pre_run().unwrap();
    assert_eq!(digests(true), sealed);
    assert_eq!(run.immutable_digest, sealed.0);
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let ran = digests(true);
    assert!(ran.0 == sealed.0 && ran.1 != sealed.1);
    assert_eq!(scene.station.post_run(&run.run_id).unwrap().results_digest, ran.1);
}

#[test]
fn sealed_content_of_another_station_gets_no_digests() {
    let (scene, other) = (Scene::set(), Station::start("b"));
    let answer = other.hash(&scene.train.image, false).unwrap();
    assert_eq!((answer.train, answer.train_absent.as_str()), (None, "not-on-route"));
    assert_eq!(answer.tree_digest, tree_digest(&scene.train.image).0, "the tree is no secret");
    // The same id, and another key.
    let namesake = Station::start("a");
    let answer = namesake.hash(&scene.train.image, true).unwrap();
    assert_eq!((answer.train, answer.train_absent.as_str()), (None, "no-key"));
}

#[test]
fn a_tampered_train_gets_no_digests() {
    let scene = Scene::set();
    let mut tampered = scene.rootfs();
    tampered.content("opt/pht_train/data.bin")[20] ^= 1;
    tampered.put(&scene.engine, &scene.train.repository, "latest");
    refused("tampered", scene.station.hash(&scene.train.image, true), "TRAIN_AUTHENTICATION_FAILED");
}

#[test]
fn a_train_that_is_not_at_this_stop_gets_no_digests() {
    let (first, second) = (Station::start("a"), Station::start("b"));
    let train = Train::of(&[first.seat(), second.seat()]).make();
    let answer = second.hash(&train.image, true).unwrap();
    assert_eq!((answer.train, answer.train_absent.as_str()), (None, "not-our-turn"));
}

#[test]
fn an_image_that_is_no_train_has_a_tree_digest_and_no_train() {
    let scene = Scene::set();
    let mut rootfs = scene.rootfs();
    rootfs.remove("opt");
    let id = rootfs.put(&scene.engine, &scene.train.repository, "plain");
    // By id: nothing is written to it.
    let answer = scene.station.hash(&id, false).unwrap();
    assert_eq!((answer.train, answer.train_absent.as_str()), (None, "not-a-train"));
    assert_eq!(answer.tree_digest, tree_digest(&id).0);
}
