//! What is refused of layouts, each with its reason, and that nothing is written then.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

use serde_json::{Value, json};
use stationmaster_proto::OpenInto;

use super::station;
use crate::support::{
    Station, Train,
    skopeo_layouts::Yard,
    tamper::{Rootfs, refused},
};

struct Scene {
    yard: Yard,
    station: Station,
    train: Train,
}

impl Scene {
    fn set() -> Self {
        let yard = Yard::new();
        let station = station("a", &yard);
        let train = Train::of(&[station.seat()]).make();
        station.trust_train(&train);
        yard.take(&train);
        Self { yard, station, train }
    }

    /// Every file below the yard, links as what they lead to.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        fn below(directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    below(&path, files);
                } else {
                    let content = fs::read_link(&path).map(|to| to.into_os_string().into_encoded_bytes());
                    files.insert(path.display().to_string(), content.or_else(|_| fs::read(&path)).unwrap());
                }
            }
        }
        let mut files = BTreeMap::new();
        below(self.yard.path(), &mut files);
        files
    }

    /// A pre-run is refused, and nothing is written.
    #[track_caller]
    fn refuses(&self, what: &str, reason: &str) {
        let before = self.files();
        let answer = self.station.pre_run(&self.train.image);
        refused(what, answer, reason);
        assert_eq!(self.files(), before, "{what}: something was written");
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.yard.layout(&self.train).join(name)
    }

    fn blob(&self, digest: &str) -> std::path::PathBuf {
        self.path(&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")))
    }

    fn document(&self, digest: &str) -> Value {
        serde_json::from_slice(&fs::read(self.blob(digest)).unwrap()).unwrap()
    }

    /// Changes the index.
    fn edit_index(&self, change: impl FnOnce(&mut Value)) {
        let mut index = self.yard.index(&self.train);
        change(&mut index);
        fs::write(self.path("index.json"), index.to_string()).unwrap();
    }
}

#[test]
fn a_layout_that_is_not_what_its_digests_say_is_refused_and_nothing_is_written() {
    let scene = Scene::set();
    let latest = scene.yard.tags(&scene.train)["latest"].clone();
    let manifest = scene.document(&latest);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let layer = text(&manifest["layers"].as_array().unwrap().last().unwrap()["digest"]);
    let config = text(&manifest["config"]["digest"]);
    for (what, digest) in [("manifest", &latest), ("configuration", &config), ("layer", &layer)] {
        let good = fs::read(scene.blob(digest)).unwrap();
        let mut bad = good.clone();
        let at = bad.len() - 2;
        bad[at] ^= 1;
        fs::write(scene.blob(digest), &bad).unwrap();
        scene.refuses(&format!("a changed {what}"), "ARCHIVE_MALFORMED");
        fs::write(scene.blob(digest), &good[..good.len() / 2]).unwrap();
        scene.refuses(&format!("half a {what}"), "ARCHIVE_MALFORMED");
        fs::remove_file(scene.blob(digest)).unwrap();
        let reason = if what == "manifest" { "IMAGE_NOT_FOUND" } else { "ARCHIVE_MALFORMED" };
        scene.refuses(&format!("no {what}"), reason);
        symlink("/etc/passwd", scene.blob(digest)).unwrap();
        scene.refuses(&format!("a link for a {what}"), "ARCHIVE_MALFORMED");
        fs::remove_file(scene.blob(digest)).unwrap();
        fs::write(scene.blob(digest), good).unwrap();
    }
    scene.station.pre_run(&scene.train.image).unwrap();
}

#[test]
fn an_index_that_names_no_one_image_is_refused() {
    let scene = Scene::set();
    let good = scene.yard.index(&scene.train);
    type Change = fn(&mut Value);
    let changes: [(&str, Change, &str); 5] = [
        (
            "a manifest list",
            |index| {
                for one in index["manifests"].as_array_mut().unwrap() {
                    one["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
                }
            },
            "ARCHIVE_MALFORMED",
        ),
        (
            "one tag for two images",
            |index| {
                for one in index["manifests"].as_array_mut().unwrap() {
                    one["annotations"]["org.opencontainers.image.ref.name"] = json!("latest");
                }
                index["manifests"][0]["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
            },
            "ARCHIVE_MALFORMED",
        ),
        (
            "another digest",
            |index| {
                for one in index["manifests"].as_array_mut().unwrap() {
                    one["digest"] = json!("sha512:00");
                }
            },
            "ARCHIVE_MALFORMED",
        ),
        ("no images", |index| index["manifests"] = json!([]), "IMAGE_NOT_FOUND"),
        ("no list", |index| index["manifests"] = json!({}), "ARCHIVE_MALFORMED"),
    ];
    for (what, change, reason) in changes {
        scene.edit_index(change);
        scene.refuses(what, reason);
        scene.edit_index(|index| *index = good.clone());
    }
    fs::write(scene.path("index.json"), "[").unwrap();
    scene.refuses("no JSON", "ARCHIVE_MALFORMED");
    fs::write(scene.path("index.json"), good.to_string()).unwrap();
    fs::rename(scene.path("oci-layout"), scene.path("oci-layout.away")).unwrap();
    scene.refuses("a directory that is no layout", "IMAGE_NOT_FOUND");
}

#[test]
fn what_only_an_engine_can_do_is_refused_before_anything_is_done() {
    let scene = Scene::set();
    let before = scene.files();
    let answer = scene.station.open_into(&scene.train.image, OpenInto::Volume);
    refused("volumes", answer, "NO_ENGINE");
    assert_eq!(scene.files(), before);
    for (image, reason) in [
        (format!("{}:none", scene.train.repository), "IMAGE_NOT_FOUND"),
        ("pht/none:latest".to_owned(), "IMAGE_NOT_FOUND"),
        ("../etc:latest".to_owned(), "IMAGE_REF_INVALID"),
        (format!("sha256:{}", "0".repeat(64)), "IMAGE_REF_INVALID"),
        (format!("../etc@sha256:{}", "0".repeat(64)), "IMAGE_REF_INVALID"),
        (format!("{}@sha256:{}", scene.train.repository, "0".repeat(64)), "IMAGE_NOT_FOUND"),
    ] {
        refused(&image, scene.station.inspect(&image), reason);
    }
    scene.edit_index(|index| {
        index["manifests"].as_array_mut().unwrap().retain(|one| one["annotations"]["org.opencontainers.image.ref.name"] != "base")
    });
    scene.refuses("no base", "BASE_MISSING");
}

#[test]
fn a_run_is_sealed_in_its_own_layout_only_and_goes_on_after_a_refusal() {
    let scene = Scene::set();
    let run = scene.station.pre_run(&scene.train.image).unwrap();
    scene.yard.run(&scene.train, &scene.train.expected_results(1), true);
    let before = scene.files();
    let elsewhere = scene.station.post_run_of(&run.run_id, "pht/other:latest");
    refused("another layout", elsewhere, "IMAGE_REF_INVALID");
    assert_eq!(scene.files(), before);
    let closed = scene.station.post_run(&run.run_id).unwrap();
    assert!(closed.plaintext_held_by.is_empty());
}

#[test]
fn links_in_a_layer_are_refused_as_in_the_engine() {
    let scene = Scene::set();
    let run = scene.station.pre_run(&scene.train.image).unwrap();
    let mut layer = Rootfs::default();
    layer.add("opt/pht_results/link", tar::EntryType::Symlink, "/etc/passwd");
    scene.yard.commit(&scene.train, layer.tar(), true);
    let before = scene.files();
    refused("a link among the results", scene.station.post_run(&run.run_id), "IMAGE_POLICY_VIOLATION");
    assert_eq!(scene.files(), before);
    // The run is as it was: without the link it can be closed.
    let mut layer = Rootfs::default();
    layer.add_file("opt/pht_results/.wh.link", b"");
    layer.add_file("opt/pht_results/a", b"PLAINTEXT-CANARY-RESULT");
    scene.yard.commit(&scene.train, layer.tar(), false);
    let closed = scene.station.post_run(&run.run_id).unwrap();
    assert_eq!(closed.result_files, 1);
    crate::images::layouts::holds_no_plaintext(&scene.yard, &scene.train);
}
