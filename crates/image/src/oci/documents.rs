//! Reads the documents of an image archive (manifests, indexes, configurations), and selects and describes its image.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use serde::Deserialize;
use stationmaster_train::digest::Sha256Digest;

use super::{
    descriptors::{DEPTH, Platform, Wanted, blob_name, images_of, layer_of, manifest, manifest_of},
    digest::{self, BLOBS},
    strict_json::parse,
};
use crate::{ImageError, oci::selection};

/// Maximum size of a document, in bytes.
const LIMIT: u64 = 4 * 1024 * 1024;
/// Maximum total size of all documents kept, in bytes.
const KEPT: usize = 16 * 1024 * 1024;
/// Error text: a blob does not have the digest in its name.
pub(crate) const WRONG_DIGEST: &str = "a document's digest is not the one in its name";
/// Names of files that are read as documents.
pub(crate) struct Document;

impl Document {
    /// Whether a file outside `blobs/` is a document: an index of images, or a configuration of old engines (`HEX.json`) or of
    /// builders without an engine (`sha256:HEX`).
    pub(crate) fn is_one(name: &str) -> bool {
        !name.contains('/') && (name.ends_with(".json") || name.starts_with("sha256:")) || name == "oci-layout"
    }
}

/// Reads a document of `size` bytes.
pub(crate) fn read(size: u64, content: impl Read) -> Result<Vec<u8>, ImageError> {
    if size > LIMIT {
        return Err(ImageError::Limit("bytes of a manifest or configuration"));
    }
    let mut bytes = Vec::new();
    content.take(LIMIT).read_to_end(&mut bytes).map_err(ImageError::from_io)?;
    Ok(bytes)
}

/// Whether a blob's name states another digest.
pub(crate) fn states_another(name: &str, digest: Sha256Digest) -> bool {
    name.starts_with(BLOBS) && digest::of_file(name) != Some(digest)
}

/// The documents kept.
#[derive(Default)]
pub(crate) struct Documents {
    files: HashMap<String, Vec<u8>>,
    kept: usize,
}

/// An image as its documents describe it.
pub(crate) struct Described {
    /// Names of its layers' files, lowest first.
    pub layers: Vec<String>,
    pub config: Option<Vec<u8>>,
    /// Digests of the layers' archives, from the configuration.
    pub diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct DockerImage {
    #[serde(rename = "Config", default)]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
    #[serde(rename = "RepoTags", default)]
    names: Option<Vec<String>>,
}

impl DockerImage {
    /// Returns the `sha256:…` of its configuration, as the file's name states it.
    fn id(&self) -> String {
        let hex = self.config.rsplit(['/', ':']).next().unwrap_or_default();
        format!("sha256:{}", hex.strip_suffix(".json").unwrap_or(hex))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(String::as_str)
    }
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
    pub(crate) fn keep(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), ImageError> {
        self.kept += bytes.len();
        if self.kept > KEPT {
            return Err(ImageError::Limit("bytes of manifests and configurations"));
        }
        self.files.insert(name.to_owned(), bytes);
        Ok(())
    }

    /// Describes the image, from Docker's `manifest.json` if it exists, otherwise from `index.json`: engines read the former, OCI's
    /// tools and some engines the latter. `names` are those of all its files, including files that are not documents.
    pub(crate) fn describe(&self, names: &HashSet<String>, image: Option<&str>) -> Result<Described, ImageError> {
        let (config, layers) = match (self.files.get("manifest.json"), self.files.get("index.json")) {
            (Some(manifest), index) => {
                let (config, layers, others) = docker(manifest, image)?;
                if let Some(index) = index {
                    self.agrees(index, (&config, image), &others, names)?;
                }
                (config, layers)
            }
            // Old engines then search for images in their first layout, which states no digests.
            (None, Some(_)) if names.iter().any(|name| name == "repositories" || name.ends_with("/json")) => {
                return Err(ImageError::Malformed("files of Docker's first layout beside an index.json, and no manifest.json"));
            }
            (None, Some(index)) => self.oci(index, image)?,
            (None, None) => return Err(ImageError::Malformed("no manifest.json")),
        };
        let bytes = self.files.get(&config);
        let diff_ids = bytes.map(|bytes| self.diff_ids(&config, bytes)).transpose()?;
        Ok(Described { layers, config: bytes.cloned(), diff_ids })
    }

    fn oci(&self, index: &[u8], image: Option<&str>) -> Result<(String, Vec<String>), ImageError> {
        let wanted = image.map_or(Wanted::Only, Wanted::Named);
        let wanted = manifest_of(index, wanted, |digest| self.blob(digest).map(<[u8]>::to_vec))?;
        let manifest = manifest(&wanted, self.blob(&wanted.digest)?)?;
        let layers = manifest.layers.iter().map(layer_of).collect::<Result<_, ImageError>>()?;
        self.blob(&manifest.config.digest)?;
        Ok((blob_name(&manifest.config.digest)?, layers))
    }

    /// Rejects an index that leads to an image with another configuration, except `others` that `manifest.json` also contains, and an
    /// index that gives one of those the requested name. In nested lists, which are kept unchanged, images of other platforms may be
    /// missing. A missing image that could be of this image's platform is rejected, because the engine may have it.
    fn agrees(
        &self,
        index: &[u8],
        (config, image): (&str, Option<&str>),
        others: &HashSet<String>,
        names: &HashSet<String>,
    ) -> Result<(), ImageError> {
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
                        continue;
                    }
                    let of_it = blob_name(&manifest(&one, bytes)?.config.digest)?;
                    let is_it = of_it == config;
                    found |= is_it;
                    let takes_its_name =
                        || image.is_some_and(|image| one.names().next().is_some_and(|name| selection::is(image, name)));
                    if !is_it && (!others.contains(&of_it) || takes_its_name()) {
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
        let digest: Sha256Digest = digest.parse()?;
        let name = digest::file_name(&digest);
        let missing = || ImageError::of_file("a document that its index names is missing", &name);
        let bytes = self.files.get(&name).ok_or_else(missing)?;
        if Sha256Digest::of(bytes) == digest { Ok(bytes) } else { Err(ImageError::of_file(WRONG_DIGEST, &name)) }
    }

    fn diff_ids(&self, name: &str, bytes: &[u8]) -> Result<Vec<String>, ImageError> {
        let hex = [BLOBS, "sha256:"].iter().find_map(|prefix| name.strip_prefix(prefix));
        let hex = hex.or_else(|| name.strip_suffix(".json").filter(|hex| Sha256Digest::from_hex(hex).is_ok()));
        if hex.is_some_and(|hex| Sha256Digest::from_hex(hex) != Ok(Sha256Digest::of(bytes))) {
            return Err(ImageError::of_file("the configuration's digest is not the one in its name", name));
        }
        parse::<Config>(bytes, "its configuration").map(|config| config.rootfs.diff_ids)
    }
}

/// Returns the image that `manifest.json` describes (with `image`, the one of that name), and the configurations of the others.
fn docker(manifest: &[u8], image: Option<&str>) -> Result<(String, Vec<String>, HashSet<String>), ImageError> {
    let images: Vec<DockerImage> = parse(manifest, "manifest.json")?;
    let is_wanted =
        |one: &&DockerImage| image.is_none_or(|name| one.id() == name || one.names().any(|one| selection::is(name, one)));
    let mut seen = HashSet::new();
    // One image may occur once for each of its names.
    let found: Vec<&DockerImage> =
        images.iter().filter(is_wanted).filter(|one| seen.insert((&one.config, &one.layers))).collect();
    let only = match &found[..] {
        [only] => *only,
        several => {
            let listed = if several.is_empty() { images.iter().collect() } else { several.to_vec() };
            let names: Vec<String> =
                listed.iter().map(|one| one.names().next().map_or_else(|| one.id(), str::to_owned)).collect();
            return Err(match names.is_empty() {
                true => ImageError::Malformed("manifest.json names no image"),
                false => selection::not_one(several.is_empty(), names.iter().map(String::as_str)),
            });
        }
    };
    let others = images.iter().map(|one| one.config.clone()).filter(|config| *config != only.config).collect();
    Ok((only.config.clone(), only.layers.clone(), others))
}
