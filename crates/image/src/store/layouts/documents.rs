//! Reads an image's manifest and configuration from a layout (OCI manifest.md, config.md).

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use stationmaster_train::digest::Sha256Digest;

use crate::{
    ImageError,
    archive::layout_dir::Layout,
    oci::{
        descriptors::OCI_MANIFEST,
        image_config::{HistoryEntry, ImageMetadata},
        reference::ImageId,
        strict_json::parse,
    },
};

/// Parts of a configuration that a child inherits, in addition to `config` and `history`.
const PLATFORM: [&str; 6] = ["architecture", "os", "variant", "os.version", "os.features", "author"];

/// An image's manifest and configuration, both with verified digests.
pub(super) struct ImageDocuments {
    pub digest: String,
    size: u64,
    pub manifest: Map<String, Value>,
    pub config: Map<String, Value>,
}

impl ImageDocuments {
    /// [`ImageError::NotFound`] when the manifest does not exist.
    pub(super) fn read(layout: &Layout, digest: &str) -> Result<Self, ImageError> {
        let mut image = Self::read_manifest(layout, digest)?;
        let config = image.config_digest()?;
        image.config = object(&layout.blob(&config)?, "its configuration")?;
        Ok(image)
    }

    /// As [`Self::read`], without the configuration: that of a partly written or partly removed image need not exist.
    pub(super) fn read_manifest(layout: &Layout, digest: &str) -> Result<Self, ImageError> {
        if !layout.has(digest)? {
            return Err(ImageError::NotFound);
        }
        let bytes = layout.blob(digest)?;
        let manifest = object(&bytes, "a manifest")?;
        Ok(Self { digest: digest.to_owned(), size: bytes.len() as u64, manifest, config: Map::new() })
    }

    /// Returns the image's descriptor for an index.
    pub(super) fn descriptor(&self) -> Map<String, Value> {
        let media_type = self.manifest.get("mediaType").and_then(Value::as_str).unwrap_or(OCI_MANIFEST);
        let descriptor = json!({ "mediaType": media_type, "digest": self.digest, "size": self.size });
        descriptor.as_object().cloned().unwrap_or_default()
    }

    pub(super) fn config_digest(&self) -> Result<String, ImageError> {
        let digest = self.manifest.get("config").and_then(|config| config.get("digest")).and_then(Value::as_str);
        // A manifest list has no configuration.
        digest.map(str::to_owned).ok_or(ImageError::Malformed("a manifest without a configuration"))
    }

    /// Returns the descriptors of its layers, lowest first.
    pub(super) fn layers(&self) -> &[Value] {
        self.manifest.get("layers").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Returns the digests of its configuration and its layers.
    pub(super) fn blobs(&self) -> impl Iterator<Item = String> {
        digests_of(&self.manifest)
    }

    /// Returns the metadata that an engine would show. `id` is its id.
    pub(super) fn metadata(&self, id: &ImageId) -> Result<ImageMetadata, ImageError> {
        let diff_ids = self.diff_ids()?;
        let sizes: Vec<u64> = self.layers().iter().map(|layer| layer.get("size").and_then(Value::as_u64).unwrap_or(0)).collect();
        let history = self.config.get("history").and_then(Value::as_array);
        let mut of_layers = sizes.iter();
        Ok(ImageMetadata {
            id: id.clone(),
            layers: diff_ids,
            config: self.config.get("config").and_then(Value::as_object).cloned().unwrap_or_default(),
            platform: self.platform(),
            size: sizes.iter().sum(),
            history: history.into_iter().flatten().map(|entry| history_entry(entry, &mut of_layers)).collect(),
        })
    }

    /// Returns the digests of its layers' archives, lowest first.
    fn diff_ids(&self) -> Result<Vec<String>, ImageError> {
        let diff_ids = self.config.get("rootfs").and_then(|rootfs| rootfs.get("diff_ids")).and_then(Value::as_array);
        let diff_ids: Vec<String> = diff_ids.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        if diff_ids.len() != self.layers().len() {
            return Err(ImageError::Malformed("its layers are not those that its configuration names"));
        }
        Ok(diff_ids)
    }

    /// Returns what a child inherits of its configuration.
    fn platform(&self) -> Map<String, Value> {
        let mut platform = self.config.clone();
        platform.retain(|name, _| PLATFORM.contains(&name.as_str()));
        platform
    }

    /// Returns the configuration of a child with one more layer: digest of its archive, time as RFC 3339, its history entry.
    pub(super) fn child_config(&self, layer: Sha256Digest, created: &str, instruction: &str) -> Result<Vec<u8>, ImageError> {
        let mut layers = self.diff_ids()?;
        layers.push(layer.to_string());
        let mut child = self.platform();
        if let Some(config) = self.config.get("config") {
            child.insert("config".into(), config.clone());
        }
        child.insert("created".into(), json!(created));
        child.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": layers }));
        let mut history = self.config.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
        // Without any entries, the history would seem to be of the new layer alone.
        if !history.is_empty() || layers.len() == 1 {
            history.push(json!({ "created": created, "created_by": instruction }));
            child.insert("history".into(), Value::Array(history));
        }
        Ok(Value::Object(child).to_string().into_bytes())
    }
}

fn history_entry<'a>(entry: &Value, sizes: &mut impl Iterator<Item = &'a u64>) -> HistoryEntry {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_empty = entry.get("empty_layer").and_then(Value::as_bool).unwrap_or(false);
    let size = if is_empty { 0 } else { sizes.next().map_or(0, |size| i64::try_from(*size).unwrap_or(i64::MAX)) };
    HistoryEntry {
        created: text("created").parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second),
        created_by: text("created_by"),
        comment: text("comment"),
        size,
    }
}

fn object(bytes: &[u8], what: &'static str) -> Result<Map<String, Value>, ImageError> {
    parse(bytes, what)
}

/// Returns the digests in a manifest, or in a list of manifests.
fn digests_of(manifest: &Map<String, Value>) -> impl Iterator<Item = String> {
    let lists = ["layers", "manifests"].into_iter().filter_map(|list| manifest.get(list)?.as_array()).flatten();
    let described = manifest.get("config").into_iter().chain(lists);
    described.filter_map(|one| one.get("digest")?.as_str().map(str::to_owned))
}

/// Returns all blobs that images of a layout need, including their manifests.
pub(super) fn needed<'a>(layout: &Layout, images: impl Iterator<Item = &'a str>) -> Result<HashSet<String>, ImageError> {
    let (mut needed, mut left) = (HashSet::new(), images.map(str::to_owned).collect::<Vec<_>>());
    while let Some(digest) = left.pop() {
        if !needed.insert(digest.clone()) || !layout.has(&digest)? {
            continue;
        }
        // An unreadable image does not prevent the removal of plaintext.
        let Ok(manifest) = layout.blob(&digest).and_then(|bytes| object(&bytes, "a manifest")) else { continue };
        if manifest.contains_key("manifests") {
            left.extend(digests_of(&manifest));
        } else {
            needed.extend(digests_of(&manifest));
        }
    }
    Ok(needed)
}
