//! The small files of an image's archive, and what they say of it.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use serde::Deserialize;
use serde_json::Value;

use super::spelling;
use crate::{
    image::{ImageError, opt::broken},
    train::digest::FileHasher,
};

/// Longest of them, in bytes.
const LIMIT: u64 = 4 * 1024 * 1024;
/// Most bytes that are kept of all.
const KEPT: usize = 16 * 1024 * 1024;
/// What OCI calls a manifest.
pub(in crate::image) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The annotation by which an index names an image.
pub(in crate::image) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// A blob that is not what its name says.
pub(super) const WRONG_DIGEST: &str = "a document's digest is not the one in its name";
/// Most lists that lie in each other, `index.json` not counted.
const DEPTH: usize = 4;
/// Media types that name other manifests instead of layers.
const LISTS: [&str; 2] = ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

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

/// OCI descriptor.md.
#[derive(Deserialize)]
pub(in crate::image) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    pub digest: String,
    #[serde(default)]
    urls: Vec<Value>,
    #[serde(default)]
    pub annotations: HashMap<String, String>,
    #[serde(default)]
    platform: Platform,
}

/// What an image runs on, as a descriptor or a configuration says it.
#[derive(Default, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

impl Platform {
    /// Whether no engine takes the one for the other. What says nothing may be any.
    fn is_other(&self, image: &Self) -> bool {
        let differ = |one: &str, other: &str| !one.is_empty() && !other.is_empty() && one != other;
        differ(&self.architecture, &image.architecture) || differ(&self.os, &image.os) || differ(&self.variant, &image.variant)
    }
}

impl Descriptor {
    /// Of a digest of which nothing more is known.
    pub fn of(digest: &str) -> Self {
        Self {
            media_type: String::new(),
            digest: digest.to_owned(),
            urls: Vec::new(),
            annotations: HashMap::new(),
            platform: Platform::default(),
        }
    }

    fn is_list(&self) -> bool {
        LISTS.contains(&self.media_type.as_str())
    }

    /// Whether it is what a builder notes beside an image, of a platform that no engine has, so that none takes it for an image.
    fn is_attestation(&self) -> bool {
        let is_marked = self.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest");
        is_marked && self.platform.architecture == "unknown" && self.platform.os == "unknown"
    }
}

/// OCI image-index.md.
#[derive(Deserialize)]
pub(super) struct Index {
    pub manifests: Vec<Descriptor>,
}

/// OCI manifest.md; Docker's second schema is the same.
#[derive(Deserialize)]
pub(super) struct Manifest {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
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

/// The images of an index, or lists of them.
fn images_of(index: &[u8], what: &'static str) -> Result<impl Iterator<Item = Descriptor> + use<>, ImageError> {
    let index: Index = parse(index, what)?;
    Ok(index.manifests.into_iter().filter(|one| !one.is_attestation()))
}

/// The one image manifest that an index leads to; with `tag`, the one of that `org.opencontainers.image.ref.name`. `blob` gets a list in it, by
/// its digest.
pub(super) fn manifest_of(
    index: &[u8],
    tag: Option<&str>,
    blob: impl Fn(&str) -> Result<Vec<u8>, ImageError>,
) -> Result<Descriptor, ImageError> {
    let named = |one: &Descriptor| tag.is_none_or(|tag| one.annotations.get(REF_NAME).is_some_and(|name| name == tag));
    let mut seen = HashSet::new();
    // One image may have several names.
    let mut wanted = images_of(index, "index.json")?.filter(named).filter(|one| seen.insert(one.digest.clone()));
    let mut only = match (wanted.next(), wanted.next()) {
        (Some(only), None) => only,
        (None, _) => return Err(ImageError::NotFound),
        _ => return Err(ImageError::Malformed("index.json names several images: say which tag")),
    };
    for _ in 0..DEPTH {
        if !only.is_list() {
            return Ok(only);
        }
        let mut images = images_of(&blob(&only.digest)?, "a manifest list")?;
        only = match (images.next(), images.next()) {
            (Some(one), None) => one,
            _ => return Err(ImageError::Malformed("a manifest list: copy the image of one platform")),
        };
    }
    Err(ImageError::Malformed("manifest lists in each other"))
}

/// A manifest, of the media type by which it is named.
pub(super) fn manifest(named: &Descriptor, bytes: &[u8]) -> Result<Manifest, ImageError> {
    let manifest: Manifest = parse(bytes, "a manifest")?;
    let types = [&named.media_type, &manifest.media_type];
    match types.iter().any(|kind| kind.is_empty()) || types[0] == types[1] {
        true => Ok(manifest),
        false => Err(ImageError::Malformed("a manifest of another media type than the one it is named by")),
    }
}

/// The file of a layer.
pub(super) fn layer_of(layer: &Descriptor) -> Result<String, ImageError> {
    if !layer.urls.is_empty() || layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable") {
        return Err(ImageError::Malformed("a foreign layer: it lies at a URL and not in the image"));
    }
    blob_name(&layer.digest)
}

/// The file of a digest. Never leads anywhere else.
pub(in crate::image) fn blob_name(digest: &str) -> Result<String, ImageError> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if is_hex(hex) => Ok(format!("blobs/sha256/{hex}")),
        _ => Err(ImageError::Malformed("a digest that is not sha256")),
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(in crate::image) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &'static str) -> Result<T, ImageError> {
    spelling::check(bytes)?;
    serde_json::from_slice(bytes).map_err(|_| ImageError::Malformed(what))
}
