//! One image, wherever it lies: in the engine, in archives of either layout, in an OCI layout, compressed or not.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::offline;
use crate::support::{
    skopeo_layouts::skopeo,
    tamper::{Scene, commit_with, holds, saved},
};

/// What is told of an image at a place.
pub fn hash(place: &str) -> Result<Value, String> {
    let done = offline(&["hash", "--place", place, "--output", "json"]);
    match done.status.success() {
        true => Ok(serde_json::from_slice(&done.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)),
    }
}

pub type Files = BTreeMap<String, Vec<u8>>;

/// The files of an archive, without its directories.
pub fn files_of(archive: &[u8]) -> Files {
    let mut archive = tar::Archive::new(archive);
    let file = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    };
    archive.entries().unwrap().map(file).filter(|(name, _)| !name.ends_with('/')).collect()
}

pub fn archive_of(files: &Files) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, name, &content[..]).unwrap();
    }
    out.into_inner().unwrap()
}

/// A `docker save` archive of any engine, as engines from 25 on write it.
pub fn new_layout(old: &[u8]) -> Vec<u8> {
    let files = files_of(old);
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let mut out = Files::new();
    let mut blob = |name: &Value| {
        let content = &files[name.as_str().unwrap()];
        let hex = const_hex::encode(Sha256::digest(content));
        let place = format!("blobs/sha256/{hex}");
        out.insert(place.clone(), content.clone());
        let media = "application/vnd.oci.image.layer.v1.tar";
        (json!(place), json!({ "mediaType": media, "digest": format!("sha256:{hex}"), "size": content.len() }))
    };
    let image = &manifest[0];
    let (config, config_descriptor) = blob(&image["Config"]);
    let layers: Vec<(Value, Value)> = image["Layers"].as_array().unwrap().iter().map(&mut blob).collect();
    let oci = json!({ "schemaVersion": 2, "config": config_descriptor, "layers": layers.iter().map(|layer| &layer.1).collect::<Vec<_>>() });
    let oci = oci.to_string();
    let hex = const_hex::encode(Sha256::digest(&oci));
    out.insert(format!("blobs/sha256/{hex}"), oci.clone().into_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{hex}"), "size": oci.len() }] });
    out.insert("index.json".into(), index.to_string().into_bytes());
    out.insert("oci-layout".into(), b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec());
    let manifest =
        json!([{ "Config": config, "RepoTags": null, "Layers": layers.into_iter().map(|layer| layer.0).collect::<Vec<_>>() }]);
    out.insert("manifest.json".into(), manifest.to_string().into_bytes());
    archive_of(&out)
}

struct Places {
    scene: Scene,
    image: String,
    directory: tempfile::TempDir,
}

impl Places {
    fn make() -> Self {
        let scene = Scene::set();
        let image = scene.train.image.clone();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("old.tar"), saved(&image)).unwrap();
        Self { scene, image, directory }
    }

    fn at(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// `old.tar` as an OCI layout; answers its directory.
    fn layout(&self, name: &str, more: &[&str]) -> PathBuf {
        skopeo(&format!("docker-archive:{}", self.at("old.tar")), &format!("oci:{}:t", self.at(name)), more);
        self.at(name).into()
    }
}

#[test]
pub fn the_tree_digest_is_one_value_wherever_the_image_lies() {
    let places = Places::make();
    let in_engine = const_hex::encode(places.scene.station.hash(&places.image, false).unwrap().tree_digest);
    fs::write(places.at("new.tar"), new_layout(&fs::read(places.at("old.tar")).unwrap())).unwrap();
    places.layout("gzip", &[]);
    places.layout("zstd", &["--dest-compress-format", "zstd"]);
    let gzip = format!("oci:{}:t", places.at("gzip"));
    skopeo(&gzip, &format!("oci-archive:{}", places.at("oci.tar")), &[]);
    skopeo(&gzip, &format!("docker-archive:{}", places.at("back.tar")), &[]);
    skopeo(&format!("oci-archive:{}", places.at("oci.tar")), &format!("oci:{}:u", places.at("again")), &[]);
    let magic = |layout: &str| {
        let blobs = fs::read_dir(Path::new(&places.at(layout)).join("blobs/sha256")).unwrap();
        blobs.map(|blob| fs::read(blob.unwrap().path()).unwrap()[..4].to_vec()).collect::<Vec<_>>()
    };
    assert!(magic("gzip").iter().any(|start| start.starts_with(&[0x1f, 0x8b])));
    assert!(magic("zstd").iter().any(|start| *start == [0x28, 0xb5, 0x2f, 0xfd]));
    for place in ["old.tar", "new.tar", "gzip", "gzip:t", "zstd", "oci.tar", "back.tar", "again:u"] {
        assert_eq!(hash(&places.at(place)).unwrap()["tree_digest"], json!(in_engine), "{place}");
    }
    // skopeo writes the configuration anew where it changes the format; within one it stays the same file, and so does the image's id.
    let ids = ["gzip", "oci.tar", "again:u"].map(|place| hash(&places.at(place)).unwrap()["image_id"].clone());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
pub fn a_train_is_verified_and_inspected_wherever_it_lies() {
    let scene = Scene::set();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("old.tar"), saved(&scene.train.image)).unwrap();
    skopeo(&format!("docker-archive:{}", at("old.tar")), &format!("oci:{}:t", at("layout")), &[]);
    skopeo(&format!("oci:{}:t", at("layout")), &format!("oci-archive:{}", at("oci.tar")), &[]);
    let verify = |place: &str| {
        let done = offline(&["train", "verify", "--archive", &at(place), "--output", "json"]);
        let mut value: Value =
            serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr)));
        value["archive"] = Value::Null;
        value
    };
    let expected = verify("old.tar");
    assert_eq!(expected["holds"], true, "{expected}");
    let inspect = |place: &str| -> Value {
        let done = offline(&["train", "inspect", "--place", &at(place), "--output", "json"]);
        serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{place}: {}", String::from_utf8_lossy(&done.stderr)))
    };
    let told = scene.station.inspect(&scene.train.image).unwrap();
    fs::write(at("new.tar"), new_layout(&fs::read(at("old.tar")).unwrap())).unwrap();
    for place in ["old.tar", "new.tar", "layout", "layout:t", "oci.tar"] {
        assert_eq!(verify(place), expected, "{place}");
        let inspected = inspect(place);
        let config: Value = serde_json::from_slice(&told.config_json).unwrap();
        assert_eq!((&inspected["config"], &inspected["missing"]), (&config, &json!([])), "{place}");
        let sizes: Vec<Value> = told.listed.iter().map(|file| json!({ "path": file.path, "size": file.size })).collect();
        assert_eq!(inspected["listed"], json!(sizes), "{place}");
    }
    // With containerd's image store the manifest's digest is the id, and that store alone takes no partial archives.
    if scene.engine.takes_partial_archives() {
        assert_eq!(inspect("old.tar")["image_id"], json!(told.image_id), "the configuration's digest is the id");
    }
    let refused = offline(&["train", "inspect", "--place", &at("none.tar")]);
    assert!(!refused.status.success());
}

/// Rewrites a layout's one manifest, and what names it.
fn edit_manifest(layout: &Path, edit: impl FnOnce(&mut Value)) {
    let mut index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let blob = |digest: &Value| layout.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let mut manifest: Value = serde_json::from_slice(&fs::read(blob(&index["manifests"][0]["digest"])).unwrap()).unwrap();
    edit(&mut manifest);
    let text = manifest.to_string();
    let digest = json!(format!("sha256:{}", const_hex::encode(Sha256::digest(&text))));
    fs::write(blob(&digest), &text).unwrap();
    index["manifests"][0]["digest"] = digest;
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn what_is_no_whole_image_of_one_platform_is_refused_with_its_reason() {
    let places = Places::make();
    let layer_of = |layout: &Path| {
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let blob = |digest: &Value| layout.join("blobs/sha256").join(&digest.as_str().unwrap()[7..]);
        let manifest: Value = serde_json::from_slice(&fs::read(blob(&index["manifests"][0]["digest"])).unwrap()).unwrap();
        blob(&manifest["layers"][0]["digest"])
    };
    let refused = |what: &str, place: &str, reason: &str, text: &str| {
        let said = hash(place).expect_err(what);
        assert!(said.contains(reason) && said.contains(text), "{what}: {said}");
    };
    let layout = |name: &str| places.layout(name, &[]);

    let at = layout("foreign");
    edit_manifest(&at, |manifest| manifest["layers"][0]["urls"] = json!(["https://example.org/layer"]));
    refused("a foreign layer", at.to_str().unwrap(), "ARCHIVE_MALFORMED", "foreign");

    let at = layout("list");
    let index: Value = serde_json::from_slice(&fs::read(at.join("index.json")).unwrap()).unwrap();
    let mut list = index.clone();
    list["manifests"][0]["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    fs::write(at.join("index.json"), list.to_string()).unwrap();
    refused("a manifest list", at.to_str().unwrap(), "ARCHIVE_MALFORMED", "manifest list");
    let mut two = index.clone();
    two["manifests"].as_array_mut().unwrap().push(index["manifests"][0].clone());
    two["manifests"][1]["annotations"]["org.opencontainers.image.ref.name"] = json!("also");
    fs::write(at.join("index.json"), two.to_string()).unwrap();
    hash(at.to_str().unwrap()).expect("one image may have two names");
    two["manifests"][1]["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    fs::write(at.join("index.json"), two.to_string()).unwrap();
    refused("two images", at.to_str().unwrap(), "ARCHIVE_MALFORMED", "several images");
    refused("a tag that is not there", &format!("{}:none", at.display()), "IMAGE_NOT_FOUND", "");

    let at = layout("changed");
    let layer = layer_of(&at);
    let mut bytes = fs::read(&layer).unwrap();
    // Another compression of the same content: nothing but the digest tells.
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
    let mut again = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut again, &plain).unwrap();
    fs::write(&layer, again.finish().unwrap()).unwrap();
    let name = layer.file_name().unwrap().to_str().unwrap().to_owned();
    refused(
        "another blob",
        at.to_str().unwrap(),
        "ARCHIVE_MALFORMED",
        &format!("digest is not the one in its name: blobs/sha256/{name}"),
    );
    bytes.truncate(bytes.len() / 2);
    fs::write(&layer, &bytes).unwrap();
    refused("a layer that breaks off", at.to_str().unwrap(), "ARCHIVE_MALFORMED", "");
    fs::remove_file(&layer).unwrap();
    refused("a layer that is missing", at.to_str().unwrap(), "ARCHIVE_MALFORMED", &format!("missing: blobs/sha256/{name}"));
    std::os::unix::fs::symlink("/etc/passwd", &layer).unwrap();
    refused("a layer that is a link", at.to_str().unwrap(), "ARCHIVE_MALFORMED", "link");

    let at = layout("bomb");
    let bomb = zstd::encode_all(std::io::repeat(0).take(1 << 30), 1).unwrap();
    fs::write(layer_of(&at), bomb).unwrap();
    refused("a bomb", at.to_str().unwrap(), "", "");

    let old = fs::read(places.at("old.tar")).unwrap();
    fs::write(places.at("cut.tar"), &old[..old.len() / 2]).unwrap();
    refused("an archive that breaks off", &places.at("cut.tar"), "ARCHIVE_MALFORMED", "");
    // Docker reads the one file, OCI tools the other.
    let repository = &places.scene.train.repository;
    commit_with(&places.scene.engine, &places.image, "ENV OTHER=1", repository, "other");
    let mut two = files_of(&new_layout(&saved(&format!("{repository}:other"))));
    two.extend(files_of(&new_layout(&old)).into_iter().filter(|(name, _)| name != "index.json"));
    fs::write(places.at("two.tar"), archive_of(&two)).unwrap();
    refused("two images in one archive", &places.at("two.tar"), "ARCHIVE_MALFORMED", "different images");

    let opt = crate::support::tamper::fetched(&places.scene.engine, &places.image, "/opt");
    fs::write(places.at("opt.tar"), &opt).unwrap();
    refused("no image's archive", &places.at("opt.tar"), "ARCHIVE_MALFORMED", "manifest.json");
    assert!(holds(&opt, b"pht_train"));
}
