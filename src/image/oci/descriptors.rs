//! How OCI names images: descriptors, indexes, manifests (OCI descriptor.md, image-index.md, manifest.md), and which one image an index leads to.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::strict_json::parse;
use crate::image::{ImageError, archive::selection};

/// What OCI calls a manifest.
pub(in crate::image) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The annotation by which an index names an image.
pub(in crate::image) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation by which containerd names an image, with its repository.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Most lists that lie in each other, `index.json` not counted.
pub(in crate::image) const DEPTH: usize = 4;
/// Media types that name other manifests instead of layers.
const LISTS: [&str; 2] = ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

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
    pub(in crate::image) platform: Platform,
}

/// What an image runs on, as a descriptor or a configuration says it.
#[derive(Default, Deserialize)]
pub(in crate::image) struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

impl Platform {
    /// Whether no engine takes the one for the other. What says nothing may be any.
    pub fn is_other(&self, image: &Self) -> bool {
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

    /// The names that an index gives it: containerd's whole one first.
    pub(in crate::image) fn names(&self) -> impl Iterator<Item = &str> {
        [CONTAINERD_NAME, REF_NAME].into_iter().filter_map(|key| self.annotations.get(key)).map(String::as_str)
    }

    pub(in crate::image) fn is_list(&self) -> bool {
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
pub(in crate::image) struct Index {
    pub manifests: Vec<Descriptor>,
}

/// OCI manifest.md; Docker's second schema is the same.
#[derive(Deserialize)]
pub(in crate::image) struct Manifest {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    pub config: Descriptor,
    #[serde(default, deserialize_with = "list")]
    pub layers: Vec<Descriptor>,
}

/// Engines of a few versions wrote `null` for a list of nothing.
fn list<'de, D: Deserializer<'de>>(layers: D) -> Result<Vec<Descriptor>, D::Error> {
    Ok(Option::deserialize(layers)?.unwrap_or_default())
}

/// The images of an index, or lists of them.
pub(in crate::image) fn images_of(
    index: &[u8],
    what: &'static str,
) -> Result<impl Iterator<Item = Descriptor> + use<>, ImageError> {
    let index: Index = parse(index, what)?;
    Ok(index.manifests.into_iter().filter(|one| !one.is_attestation()))
}

/// Which image of an index is wanted.
#[derive(Clone, Copy)]
pub(in crate::image) enum Wanted<'a> {
    /// The only one.
    Only,
    /// The one of this `org.opencontainers.image.ref.name`, to the letter.
    Tag(&'a str),
    /// The one that a person names.
    Named(&'a str),
}

impl Wanted<'_> {
    fn is(self, one: &Descriptor) -> bool {
        match self {
            Self::Only => true,
            Self::Tag(tag) => one.annotations.get(REF_NAME).is_some_and(|name| name == tag),
            Self::Named(name) => one.digest == name || one.names().any(|one| selection::is(name, one)),
        }
    }
}

/// The one image manifest that an index leads to. `blob` gets a list in it, by its digest.
pub(in crate::image) fn manifest_of(
    index: &[u8],
    wanted: Wanted<'_>,
    blob: impl Fn(&str) -> Result<Vec<u8>, ImageError>,
) -> Result<Descriptor, ImageError> {
    let mut images: Vec<Descriptor> = images_of(index, "index.json")?.collect();
    let named = |images: &[Descriptor], is_named| {
        let name = |one: &Descriptor| one.names().next().unwrap_or(&one.digest).to_owned();
        let names: Vec<String> = images.iter().map(name).collect();
        selection::not_one(is_named, names.iter().map(String::as_str))
    };
    // One image may have several names.
    let mut seen = HashSet::new();
    let found: Vec<usize> =
        (0..images.len()).filter(|at| wanted.is(&images[*at]) && seen.insert(images[*at].digest.clone())).collect();
    let mut only = match (&found[..], wanted) {
        ([only], _) => images.swap_remove(*only),
        ([], Wanted::Named(_)) => return Err(named(&images, true)),
        ([], _) => return Err(ImageError::NotFound),
        (several, _) => {
            let several: Vec<Descriptor> = several.iter().rev().map(|at| images.swap_remove(*at)).collect();
            return Err(named(&several, false));
        }
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
pub(in crate::image) fn manifest(named: &Descriptor, bytes: &[u8]) -> Result<Manifest, ImageError> {
    let manifest: Manifest = parse(bytes, "a manifest")?;
    let types = [&named.media_type, &manifest.media_type];
    match types.iter().any(|kind| kind.is_empty()) || types[0] == types[1] {
        true => Ok(manifest),
        false => Err(ImageError::Malformed("a manifest of another media type than the one it is named by")),
    }
}

/// The file of a layer.
pub(in crate::image) fn layer_of(layer: &Descriptor) -> Result<String, ImageError> {
    if layer.media_type.contains("encrypted") {
        return Err(ImageError::Malformed("an encrypted layer: only who has its key can read it"));
    }
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

/// Whether it is a SHA-256 as names have it.
pub(in crate::image) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
