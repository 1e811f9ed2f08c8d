//! OCI descriptors, indexes and manifests (OCI descriptor.md, image-index.md, manifest.md), and the selection of an index's image.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use stationmaster_train::digest::Sha256Digest;

use super::{digest, strict_json::parse};
use crate::{ImageError, oci::selection};

/// OCI's media type of a manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The annotation in which an index names an image.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd names an image, with its repository.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Maximum depth of nested lists, without `index.json`.
pub(crate) const DEPTH: usize = 4;
/// Media types of lists of manifests.
const LISTS: [&str; 2] = ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// A descriptor (OCI descriptor.md).
#[derive(Deserialize)]
pub(crate) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    pub digest: String,
    #[serde(default)]
    urls: Vec<Value>,
    #[serde(default)]
    pub annotations: HashMap<String, String>,
    #[serde(default)]
    pub(crate) platform: Platform,
}

/// Platform of an image, as stated by a descriptor or a configuration.
#[derive(Default, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

impl Platform {
    /// Whether every engine distinguishes the two platforms. An unset field matches any value.
    pub(crate) fn is_other(&self, image: &Self) -> bool {
        let differ = |one: &str, other: &str| !one.is_empty() && !other.is_empty() && one != other;
        differ(&self.architecture, &image.architecture) || differ(&self.os, &image.os) || differ(&self.variant, &image.variant)
    }
}

impl Descriptor {
    /// Returns a descriptor of a digest without further information.
    pub(crate) fn of(digest: &str) -> Self {
        Self {
            media_type: String::new(),
            digest: digest.to_owned(),
            urls: Vec::new(),
            annotations: HashMap::new(),
            platform: Platform::default(),
        }
    }

    /// Returns the names that an index gives the image: containerd's full name first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        [CONTAINERD_NAME, REF_NAME].into_iter().filter_map(|key| self.annotations.get(key)).map(String::as_str)
    }

    pub(crate) fn is_list(&self) -> bool {
        LISTS.contains(&self.media_type.as_str())
    }

    /// Whether it is a builder's attestation for an image. Its platform matches no engine, so no engine selects it as an image.
    fn is_attestation(&self) -> bool {
        let is_marked = self.annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind == "attestation-manifest");
        is_marked && self.platform.architecture == "unknown" && self.platform.os == "unknown"
    }
}

/// An index (OCI image-index.md).
#[derive(Deserialize)]
pub(crate) struct Index {
    pub manifests: Vec<Descriptor>,
}

/// A manifest (OCI manifest.md); Docker's schema 2 has the same form.
#[derive(Deserialize)]
pub(crate) struct Manifest {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    pub config: Descriptor,
    #[serde(default, deserialize_with = "list")]
    pub layers: Vec<Descriptor>,
}

/// Reads a list. Some engine versions wrote `null` for an empty one.
fn list<'de, D: Deserializer<'de>>(layers: D) -> Result<Vec<Descriptor>, D::Error> {
    Ok(Option::deserialize(layers)?.unwrap_or_default())
}

/// Returns the images of an index, or lists of them.
pub(crate) fn images_of(index: &[u8], what: &'static str) -> Result<impl Iterator<Item = Descriptor> + use<>, ImageError> {
    let index: Index = parse(index, what)?;
    Ok(index.manifests.into_iter().filter(|one| !one.is_attestation()))
}

/// Selects an image of an index.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// The only one.
    Only,
    /// The one with exactly this `org.opencontainers.image.ref.name`.
    Tag(&'a str),
    /// The one with this user-supplied name.
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

/// Returns the one image manifest that an index leads to. `blob` returns a nested list by its digest.
pub(crate) fn manifest_of(
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

/// Parses a manifest, which must have the media type of its descriptor.
pub(crate) fn manifest(named: &Descriptor, bytes: &[u8]) -> Result<Manifest, ImageError> {
    let manifest: Manifest = parse(bytes, "a manifest")?;
    let types = [&named.media_type, &manifest.media_type];
    match types.iter().any(|kind| kind.is_empty()) || types[0] == types[1] {
        true => Ok(manifest),
        false => Err(ImageError::Malformed("a manifest of another media type than the one it is named by")),
    }
}

/// Returns the file name of a layer.
pub(crate) fn layer_of(layer: &Descriptor) -> Result<String, ImageError> {
    if layer.media_type.contains("encrypted") {
        return Err(ImageError::Malformed("an encrypted layer: only who has its key can read it"));
    }
    if !layer.urls.is_empty() || layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable") {
        return Err(ImageError::Malformed("a foreign layer: it lies at a URL and not in the image"));
    }
    blob_name(&layer.digest)
}

/// Returns the file name of a digest.
pub(crate) fn blob_name(digest: &str) -> Result<String, ImageError> {
    Ok(digest::file_name(&digest.parse::<Sha256Digest>()?))
}
