//! Archives that name two images, one for each of those who read them, and lists of manifests.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::inputs::{Files, archive_of, files_of, hash, new_layout};
use crate::support::tamper::{Scene, commit_with, saved};

const LIST: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An entry as it is spelled.
fn entry(name: &str, kind: tar::EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// Two images, each saved with files that Docker reads and those that OCI's tools read.
struct Two {
    directory: tempfile::TempDir,
    good: Files,
    other: Files,
    /// What `good` is.
    digest: Value,
    _scene: Scene,
}

impl Two {
    fn make() -> Self {
        let scene = Scene::set();
        let (train, repository) = (scene.train.image.clone(), scene.train.repository.clone());
        commit_with(&scene.engine, &train, "ENV OTHER=1", &repository, "other");
        let files = |image: &str| files_of(&new_layout(&saved(image)));
        let (good, other) = (files(&train), files(&format!("{repository}:other")));
        let mut two = Self { directory: tempfile::tempdir().unwrap(), good, other, digest: Value::Null, _scene: scene };
        two.digest = two.hash(&archive_of(&two.good)).expect("it is an image")["tree_digest"].clone();
        two
    }

    /// What is told of an archive.
    fn hash(&self, archive: &[u8]) -> Result<Value, String> {
        let place = self.directory.path().join("image.tar");
        fs::write(&place, archive).unwrap();
        hash(place.to_str().unwrap())
    }

    #[track_caller]
    fn refuses(&self, what: &str, archive: &[u8], text: &str) {
        let said = self.hash(archive).expect_err(what);
        assert!(said.contains("ARCHIVE_MALFORMED") && said.contains(text), "{what}: {said}");
    }

    #[track_caller]
    fn takes(&self, what: &str, archive: &[u8]) {
        let told = self.hash(archive).unwrap_or_else(|said| panic!("{what}: {said}"));
        assert_eq!(told["tree_digest"], self.digest, "{what}");
    }
}

fn manifests(files: &Files) -> Value {
    serde_json::from_slice::<Value>(&files["index.json"]).unwrap()["manifests"].clone()
}

/// The files with another index.
fn indexed(files: &Files, manifests: &Value) -> Files {
    let mut files = files.clone();
    files.insert("index.json".into(), json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes());
    files
}

/// Adds a document; answers how it is named.
fn blob(files: &mut Files, kind: &str, content: &str) -> Value {
    let hex = const_hex::encode(Sha256::digest(content));
    files.insert(format!("blobs/sha256/{hex}"), content.as_bytes().to_vec());
    json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": content.len() })
}

fn list(files: &mut Files, manifests: &Value) -> Value {
    blob(files, LIST, &json!({ "schemaVersion": 2, "mediaType": LIST, "manifests": manifests }).to_string())
}

/// What builders note beside an image of so many layers.
fn attestation(files: &mut Files, platform: &Value) -> Value {
    let statement = blob(files, "application/vnd.in-toto+json", "{\"_type\":\"statement\"}");
    let config = blob(files, "application/vnd.oci.image.config.v1+json", "{\"rootfs\":{\"diff_ids\":[]}}");
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement] });
    let mut named = blob(files, MANIFEST, &manifest.to_string());
    named["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    named["platform"] = platform.clone();
    named
}

/// The same archive without what Docker reads.
fn oci(mut files: Files) -> Vec<u8> {
    files.remove("manifest.json");
    archive_of(&files)
}

#[test]
fn an_archive_in_which_two_readers_find_two_images_is_refused() {
    use tar::EntryType::{Link, Regular, Symlink};
    let two = Two::make();
    let mut both = two.other.clone();
    both.extend(two.good.clone());
    let whole = archive_of(&both);
    two.takes("both images' files", &whole);
    // The last file of a name is the one that is there when an archive is unpacked.
    let second = |name: &str, kind, link: &str| {
        let content = if kind == Regular { two.other["manifest.json"].as_slice() } else { &[] };
        [entry(name, kind, link, content), whole.clone()].concat()
    };
    let twice = "a file that is there twice: manifest.json";
    for (name, text) in [
        ("manifest.json", twice),
        (".//manifest.json", twice),
        ("././manifest.json", twice),
        ("/manifest.json", twice),
        ("blobs/../manifest.json", "climbs"),
    ] {
        two.refuses(name, &second(name, Regular, ""), text);
    }
    for (what, name, kind, link) in [
        ("a link in its place", "manifest.json", Symlink, "blobs/other"),
        ("a hard link in its place", "manifest.json", Link, "blobs/other"),
        ("a directory of another name", "x", Symlink, "."),
        ("a layer's directory of another name", "x/layer.tar", Symlink, ".."),
        ("a layer somewhere else", "x/layer.tar", Symlink, "/x/layer.tar"),
        ("a layer that climbs", "x/layer.tar", Symlink, "../../layer.tar"),
    ] {
        two.refuses(what, &second(name, kind, link), "");
    }
}

#[test]
fn files_of_dockers_first_layout_are_no_second_image() {
    let two = Two::make();
    let plain = oci(two.good.clone());
    two.takes("an OCI archive", &plain);
    let first = "Docker's first layout";
    for (name, content) in [("repositories", "{\"evil\":{\"latest\":\"blobs\"}}"), ("blobs/json", "{}")] {
        two.refuses(name, &[entry(name, tar::EntryType::Regular, "", content.as_bytes()), plain.clone()].concat(), first);
    }
}

#[test]
fn builders_without_an_engine_write_other_names() {
    let two = Two::make();
    let manifest: Value = serde_json::from_slice(&two.good["manifest.json"]).unwrap();
    let name = |value: &Value| value.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let (config, mut files, mut layers) = (&manifest[0]["Config"], Files::new(), Vec::new());
    let named = format!("sha256:{}", name(config));
    files.insert(named.clone(), two.good[config.as_str().unwrap()].clone());
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut zipped, &two.good[layer.as_str().unwrap()]).unwrap();
        let place = format!("{}.tar.gz", name(layer));
        files.insert(place.clone(), zipped.finish().unwrap());
        layers.push(place);
    }
    files.insert("manifest.json".into(), json!([{ "Config": named, "Layers": layers }]).to_string().into_bytes());
    two.takes("go-containerregistry's", &archive_of(&files));
    files.insert(named.clone(), two.other[&first_config(&two.other)].clone());
    two.refuses("another configuration", &archive_of(&files), "digest is not the one in its name");
}

fn first_config(files: &Files) -> String {
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    manifest[0]["Config"].as_str().unwrap().to_owned()
}

#[test]
fn an_index_must_lead_to_the_image_that_docker_reads() {
    let two = Two::make();
    let mut both = two.other.clone();
    both.extend(two.good.clone());
    let (good, other) = (manifests(&two.good), manifests(&two.other));
    let archive = |manifests: &Value| archive_of(&indexed(&both, manifests));
    two.takes("its own", &archive(&good));
    two.refuses("the other's", &archive(&other), "different images");
    two.refuses("both", &archive(&json!([good[0], other[0]])), "different images");
    two.refuses("none", &archive(&json!([])), "leads to no image");
    // The engine may have it.
    let absent = |architecture: &str| {
        let platform = json!({ "architecture": architecture, "os": "linux" });
        json!({ "mediaType": MANIFEST, "digest": format!("sha256:{}", "0".repeat(64)), "platform": platform })
    };
    let missing = "that its index names is missing";
    two.refuses("one that is not there", &archive(&json!([good[0], absent("s390x")])), missing);
    // A list of several platforms is kept as it came, though the others are elsewhere.
    let mut files = both.clone();
    let platforms = list(&mut files, &json!([absent("s390x"), good[0]]));
    two.takes("a list", &archive_of(&indexed(&files, &json!([platforms]))));
    for architecture in ["", "amd64"] {
        let platforms = list(&mut files, &json!([absent(architecture), good[0]]));
        two.refuses("a list without its platform", &archive_of(&indexed(&files, &json!([platforms]))), missing);
    }
    let platforms = list(&mut files, &json!([good[0], other[0]]));
    two.refuses("the other in a list", &archive_of(&indexed(&files, &json!([platforms]))), "different images");
    let mut deep = list(&mut files, &other);
    for _ in 0..5 {
        deep = list(&mut files, &json!([deep]));
    }
    two.refuses("the other, deep in lists", &archive_of(&indexed(&files, &json!([good[0], deep]))), "");
    // Not told apart by its first byte, as documents are.
    let digest = other[0]["digest"].as_str().unwrap();
    let text = String::from_utf8(two.other[&format!("blobs/sha256/{}", &digest[7..])].clone()).unwrap();
    let spaced = blob(&mut files, MANIFEST, &format!("\n{text}"));
    two.refuses("the other, spaced", &archive_of(&indexed(&files, &json!([good[0], spaced]))), "");
    let mut named_otherwise = good[0].clone();
    named_otherwise["mediaType"] = json!(LIST);
    two.refuses("a manifest for a list", &archive(&json!([named_otherwise])), "");
    let both_kinds = blob(&mut files, LIST, &json!({ "manifests": good, "layers": [], "config": good[0] }).to_string());
    two.refuses("a list that is an image, too", &archive_of(&indexed(&files, &json!([both_kinds]))), "too");
}

#[test]
fn what_a_builder_notes_beside_an_image_is_no_second_image() {
    let two = Two::make();
    let unknown = json!({ "architecture": "unknown", "os": "unknown" });
    let good = manifests(&two.good);
    let mut files = two.good.clone();
    let noted = attestation(&mut files, &unknown);
    let inner = list(&mut files, &json!([good[0], noted]));
    let built = indexed(&files, &json!([inner]));
    two.takes("an image of BuildKit", &archive_of(&built));
    two.takes("the same for OCI's tools alone", &oci(built));
    two.takes("beside it", &oci(indexed(&files, &json!([good[0], noted]))));

    // An engine takes what is of its platform, whatever is noted of it.
    for platform in [json!({ "architecture": "amd64", "os": "linux" }), json!({}), json!(null)] {
        let mut files = two.good.clone();
        files.extend(two.other.clone());
        let mut disguised = manifests(&two.other)[0].clone();
        disguised["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
        if !platform.is_null() {
            disguised["platform"] = platform.clone();
        }
        let index = json!([good[0], disguised]);
        files.insert("manifest.json".into(), two.good["manifest.json"].clone());
        two.refuses("another image", &archive_of(&indexed(&files, &index)), "different images");
        two.refuses("another image, OCI's", &oci(indexed(&files, &index)), "several images");
    }
    let mut files = two.good.clone();
    files.extend(two.other.clone());
    let several = list(&mut files, &json!([good[0], manifests(&two.other)[0]]));
    two.refuses("two platforms", &oci(indexed(&files, &json!([several]))), "copy the image of one platform");
}
