//! Trains as OCI layouts: brought out of the engine and back by Debian's skopeo, and run without an engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Engine, Train, tamper::Rootfs};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Debian's skopeo copies an image.
#[track_caller]
pub fn skopeo(from: &str, to: &str, more: &[&str]) {
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "-q"]).args(more);
    if let Some(host) = Engine::host() {
        command.args(["--src-daemon-host", &host, "--dest-daemon-host", &host]);
    }
    let done = command.args([from, to]).output().expect("skopeo");
    assert!(done.status.success(), "skopeo {from} {to}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A directory of layouts, as a station without an engine has it.
pub struct Yard(tempfile::TempDir);

impl Yard {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The layout of a train.
    pub fn layout(&self, train: &Train) -> PathBuf {
        self.path().join(&train.repository)
    }

    fn place(&self, train: &Train, tag: &str) -> String {
        format!("oci:{}:{tag}", self.layout(train).display())
    }

    /// Brings a train and its base out of the engine.
    #[track_caller]
    pub fn take(&self, train: &Train) {
        fs::create_dir_all(self.layout(train).parent().expect("a directory above")).expect("a directory");
        for image in [&train.base, &train.image] {
            let tag = image.rsplit(':').next().expect("a tag");
            skopeo(&format!("docker-daemon:{image}"), &self.place(train, tag), &[]);
        }
    }

    /// Puts a train into the engine, under its name.
    #[track_caller]
    pub fn give(&self, train: &Train) {
        skopeo(&self.place(train, "latest"), &format!("docker-daemon:{}", train.image), &[]);
    }

    /// What a run leaves: the image under a tag with these files on it, as a layer that is compressed or not. The tag then stands for the new
    /// image alone, as after other tools.
    #[track_caller]
    pub fn run(&self, train: &Train, files: &BTreeMap<String, Vec<u8>>, gzip: bool) {
        let mut layer = Rootfs::default();
        for (path, content) in files {
            layer.add_file(&format!("opt/pht_results/{path}"), content);
        }
        self.commit(train, layer.tar(), gzip);
    }

    /// The same with any layer.
    #[track_caller]
    pub fn commit(&self, train: &Train, layer: Vec<u8>, gzip: bool) {
        let layout = self.layout(train);
        let read = |digest: &Value| -> Value {
            let hex = digest.as_str().expect("a digest").trim_start_matches("sha256:");
            serde_json::from_slice(&fs::read(layout.join("blobs/sha256").join(hex)).expect("a blob")).expect("JSON")
        };
        let mut index = self.index(train);
        let manifests = index["manifests"].as_array_mut().expect("manifests");
        let at = manifests.iter().position(|one| one["annotations"][REF_NAME] == "latest").expect("an image");
        let mut manifest = read(&manifests[at]["digest"]);
        let mut config = read(&manifest["config"]["digest"]);
        let diff_id = digest(&layer);
        config["rootfs"]["diff_ids"].as_array_mut().expect("layers").push(json!(diff_id));
        config["history"].as_array_mut().expect("a history").push(json!({ "created_by": "a run" }));
        let (media, layer) = match gzip {
            false => ("application/vnd.oci.image.layer.v1.tar", layer),
            true => ("application/vnd.oci.image.layer.v1.tar+gzip", compressed(&layer)),
        };
        let put = |bytes: &[u8]| {
            let digest = digest(bytes);
            fs::write(layout.join("blobs/sha256").join(&digest[7..]), bytes).expect("a blob");
            (json!(digest), json!(bytes.len()))
        };
        let (layer_digest, size) = put(&layer);
        let described = json!({ "mediaType": media, "digest": layer_digest, "size": size });
        manifest["layers"].as_array_mut().expect("layers").push(described);
        let (config_digest, size) = put(config.to_string().as_bytes());
        (manifest["config"]["digest"], manifest["config"]["size"]) = (config_digest, size);
        let (manifest_digest, size) = put(manifest.to_string().as_bytes());
        (manifests[at]["digest"], manifests[at]["size"]) = (manifest_digest, size);
        fs::write(layout.join("index.json"), index.to_string()).expect("index.json");
    }

    /// `index.json` of a train's layout.
    pub fn index(&self, train: &Train) -> Value {
        serde_json::from_slice(&fs::read(self.layout(train).join("index.json")).expect("index.json")).expect("JSON")
    }

    /// What each tag stands for; images without a tag are under "".
    pub fn tags(&self, train: &Train) -> BTreeMap<String, String> {
        let index = self.index(train);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let manifests = index["manifests"].as_array().expect("manifests");
        manifests.iter().map(|one| (text(&one["annotations"][REF_NAME]), text(&one["digest"]))).collect()
    }

    /// The names of the blobs that the images of a train's layout need.
    pub fn needed(&self, train: &Train) -> BTreeSet<String> {
        let hex = |one: &Value| one["digest"].as_str().expect("a digest")[7..].to_owned();
        let mut needed = BTreeSet::new();
        for image in self.index(train)["manifests"].as_array().expect("manifests") {
            let manifest = fs::read(self.layout(train).join("blobs/sha256").join(hex(image))).expect("a manifest");
            let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
            needed.extend([hex(image), hex(&manifest["config"])]);
            needed.extend(manifest["layers"].as_array().expect("layers").iter().map(hex));
        }
        needed
    }

    /// The names of the blobs of a train's layout.
    pub fn blobs(&self, train: &Train) -> BTreeSet<String> {
        let blobs = fs::read_dir(self.layout(train).join("blobs/sha256")).expect("blobs");
        blobs.map(|blob| blob.expect("a blob").file_name().into_string().expect("a name")).collect()
    }
}

/// `sha256:…` of bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", const_hex::encode(Sha256::digest(bytes)))
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).and_then(|()| gzip.finish()).expect("memory")
}
