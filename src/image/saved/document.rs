//! The small files of an image's archive, and what they say of it.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use serde::Deserialize;

use super::{
    oci::{DEPTH, Platform, blob_name, images_of, is_hex, layer_of, manifest, manifest_of},
    spelling::parse,
};
use crate::{
    image::{ImageError, opt::broken},
    train::digest::FileHasher,
};

/// Longest of them, in bytes.
const LIMIT: u64 = 4 * 1024 * 1024;
/// Most bytes that are kept of all.
const KEPT: usize = 16 * 1024 * 1024;
/// A blob that is not what its name says.
pub(super) const WRONG_DIGEST: &str = "a document's digest is not the one in its name";
/// Names of files that are read as documents.
pub(super) struct Document;

impl Document {
    /// Whether a file outside `blobs/` is one: those that say which image it is, and configurations: of old engines (`HEX.json`), and of builders
    /// without an engine (`sha256:HEX`).
    pub fn is_one(name: &str) -> bool {
        !name.contains('/') && (name.ends_with(".json") || name.starts_with("sha256:")) || name == "oci-layout"
    }
}

/// Reads one of so many bytes.
pub(super) fn read(size: u64, content: impl Read) -> Result<Vec<u8>, ImageError> {
    if size > LIMIT {
        return Err(ImageError::Limit("bytes of a manifest or configuration"));
    }
    let mut bytes = Vec::new();
    content.take(LIMIT).read_to_end(&mut bytes).map_err(broken)?;
    Ok(bytes)
}

/// The digest that a blob's name states.
pub(super) fn digest_of_name(name: &str) -> Option<String> {
    name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"))
}

/// `sha256:…` of bytes.
pub(in crate::image) fn sha256(bytes: &[u8]) -> String {
    let mut hasher = FileHasher::new();
    hasher.update(bytes);
    format!("sha256:{}", const_hex::encode(hasher.finish()))
}

/// What was kept.
#[derive(Default)]
pub(super) struct Documents {
    files: HashMap<String, Vec<u8>>,
    kept: usize,
}

/// An image as its documents describe it.
pub(super) struct Described {
    /// Names of its layers' files, lowest first.
    pub layers: Vec<String>,
    pub config: Option<Vec<u8>>,
    /// Of the configuration: digests of the layers' archives.
    pub diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct DockerImage {
    #[serde(rename = "Config", default)]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: Rootfs,
}

#[derive(Deserialize)]
struct Rootfs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl Documents {
    pub fn keep(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), ImageError> {
        self.kept += bytes.len();
        if self.kept > KEPT {
            return Err(ImageError::Limit("bytes of manifests and configurations"));
        }
        self.files.insert(name.to_owned(), bytes);
        Ok(())
    }

    /// What the image is: Docker's `manifest.json` says it where there is one, otherwise `index.json`; engines read the one, OCI's tools and some
    /// engines the other. `names` are all of its files, documents or not.
    pub fn describe(&self, names: &HashSet<String>) -> Result<Described, ImageError> {
        let (config, layers) = match (self.files.get("manifest.json"), self.files.get("index.json")) {
            (Some(manifest), index) => {
                let (config, layers) = docker(manifest)?;
                if let Some(index) = index {
                    self.agrees(index, &config, names)?;
                }
                (config, layers)
            }
            // Old engines then look for images in their first layout, where nothing states a digest.
            (None, Some(_)) if names.iter().any(|name| name == "repositories" || name.ends_with("/json")) => {
                return Err(ImageError::Malformed("files of Docker's first layout beside an index.json, and no manifest.json"));
            }
            (None, Some(index)) => self.oci(index)?,
            (None, None) => return Err(ImageError::Malformed("no manifest.json")),
        };
        let bytes = self.files.get(&config);
        let diff_ids = bytes.map(|bytes| self.diff_ids(&config, bytes)).transpose()?;
        Ok(Described { layers, config: bytes.cloned(), diff_ids })
    }

    fn oci(&self, index: &[u8]) -> Result<(String, Vec<String>), ImageError> {
        let wanted = manifest_of(index, None, |digest| self.blob(digest).map(<[u8]>::to_vec))?;
        let manifest = manifest(&wanted, self.blob(&wanted.digest)?)?;
        let layers = manifest.layers.iter().map(layer_of).collect::<Result<_, ImageError>>()?;
        self.blob(&manifest.config.digest)?;
        Ok((blob_name(&manifest.config.digest)?, layers))
    }

    /// Refuses an index that leads to any image but the one of this configuration. In lists, which are kept as they came, those of other platforms
    /// need not be there; what is not there and could be for this one's is refused, for the engine may have it.
    fn agrees(&self, index: &[u8], config: &str, names: &HashSet<String>) -> Result<(), ImageError> {
        let runs_on: Platform = match self.files.get(config) {
            Some(bytes) => parse(bytes, "its configuration")?,
            None => Platform::default(),
        };
        let (mut found, mut seen, mut lists) = (false, HashSet::new(), vec![index]);
        for depth in 0..=DEPTH {
            let mut inner = Vec::new();
            for list in lists {
                for one in images_of(list, "index.json")? {
                    let is_elsewhere = depth > 0 && one.platform.is_other(&runs_on);
                    if is_elsewhere && !names.contains(&blob_name(&one.digest)?) || !seen.insert(one.digest.clone()) {
                        continue;
                    }
                    let bytes = self.blob(&one.digest)?;
                    if one.is_list() {
                        inner.push(bytes);
                    } else if blob_name(&manifest(&one, bytes)?.config.digest)? == config {
                        found = true;
                    } else {
                        return Err(ImageError::Malformed("manifest.json and index.json name different images"));
                    }
                }
            }
            lists = inner;
        }
        match lists.is_empty() && found {
            true => Ok(()),
            false => Err(ImageError::Malformed("an index.json that leads to no image")),
        }
    }

    fn blob(&self, digest: &str) -> Result<&[u8], ImageError> {
        let name = blob_name(digest)?;
        let missing = || ImageError::of_file("a document that its index names is missing", &name);
        let bytes = self.files.get(&name).ok_or_else(missing)?;
        if sha256(bytes) == digest { Ok(bytes) } else { Err(ImageError::of_file(WRONG_DIGEST, &name)) }
    }

    fn diff_ids(&self, name: &str, bytes: &[u8]) -> Result<Vec<String>, ImageError> {
        let hex = ["blobs/sha256/", "sha256:"].iter().find_map(|prefix| name.strip_prefix(prefix));
        let hex = hex.or_else(|| name.strip_suffix(".json").filter(|hex| is_hex(hex)));
        if hex.is_some_and(|hex| sha256(bytes) != format!("sha256:{hex}")) {
            return Err(ImageError::of_file("the configuration's digest is not the one in its name", name));
        }
        parse::<Config>(bytes, "its configuration").map(|config| config.rootfs.diff_ids)
    }
}

fn docker(manifest: &[u8]) -> Result<(String, Vec<String>), ImageError> {
    let images: Vec<DockerImage> = parse(manifest, "manifest.json")?;
    let mut images = images.into_iter();
    match (images.next(), images.next()) {
        (Some(image), None) => Ok((image.config, image.layers)),
        _ => Err(ImageError::Malformed("manifest.json of several images")),
    }
}
