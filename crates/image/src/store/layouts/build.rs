//! Builds an image in a layout: its parent's configuration and layers, and one more layer.

use std::io::Write;

use serde_json::{Map, Value, json};
use stationmaster_system::failpoint;
use stationmaster_train::digest::Sha256Digest;

use super::{
    LayoutStore,
    blob::{NewBlob, Readers},
    documents::ImageDocuments,
    failed,
    index::Index,
    lock, split,
};
use crate::{
    ImageError,
    oci::{descriptors::OCI_MANIFEST, image_config::rfc3339},
    store::recipe::{BuiltImage, ImageSpec, LayerSource, WriteError},
    tar::layer_writer::{HashingWriter, output_error},
};

/// Writes an image into its parent's layout.
///
/// The layer is on the disk, without a name, before the id is announced; the files get their names afterwards.
pub(super) fn build(layouts: &LayoutStore, spec: &ImageSpec<'_>, source: &mut dyn LayerSource) -> Result<BuiltImage, WriteError> {
    let (_, parent) = split(&spec.parent.id)?;
    let layout = layouts.of_id(&spec.parent.id)?;
    let parent = ImageDocuments::read(&layout, &parent)?;
    let blobs = layout.root.enter("blobs/sha256").map_err(failed)?;
    let readers = if spec.is_plaintext { Readers::Group(layouts.group) } else { Readers::OfDirectory };

    let mut layer = NewBlob::create(&blobs, source.size(), layouts.reserve, readers)?;
    let mut hashed = HashingWriter::new(&mut layer);
    source.write(&mut hashed)?;
    let layer_digest = hashed.finish();
    let config = parent.child_config(layer_digest, &rfc3339(spec.created), spec.instruction)?;
    let config_digest = Sha256Digest::of(&config);
    let manifest = manifest(&parent, (config_digest, config.len()), (layer_digest, source.size()))?;
    let digest = Sha256Digest::of(&manifest);
    let document = |bytes: &[u8]| {
        let mut blob = NewBlob::create(&blobs, bytes.len() as u64, layouts.reserve, readers)?;
        blob.write_all(bytes).map_err(output_error)?;
        blob.finish()
    };
    // The files get their names in this order: from the manifest on, the image can be found and removed.
    let files = [(digest, document(&manifest)?), (config_digest, document(&config)?), (layer_digest, layer.finish()?)];
    let id = spec.parent.id.with_digest(digest);
    (spec.announce)(&id)?;

    let _lock = lock(&layout)?;
    for (digest, blob) in files {
        blob.publish(&blobs, &digest)?;
        failpoint::point("layout/half");
    }
    blobs.sync().map_err(failed)?;
    let mut index = Index::read(&layout)?;
    failpoint::point("layout/blobs");
    index.add(&ImageDocuments::read(&layout, &digest.to_string())?.descriptor());
    index.write(&layout.root)?;
    Ok(BuiltImage { id, warning: None })
}

/// Returns the new image's manifest. `config` and `layer` are digest and length.
fn manifest(parent: &ImageDocuments, config: (Sha256Digest, usize), layer: (Sha256Digest, u64)) -> Result<Vec<u8>, ImageError> {
    let media_type = parent.manifest.get("mediaType").and_then(Value::as_str).unwrap_or(OCI_MANIFEST);
    let of_layer = match media_type {
        OCI_MANIFEST => "application/vnd.oci.image.layer.v1.tar",
        _ => "application/vnd.docker.image.rootfs.diff.tar",
    };
    let of_config = parent.manifest.get("config").and_then(|config| config.get("mediaType"));
    let mut layers = parent.layers().to_vec();
    layers.push(json!({ "mediaType": of_layer, "digest": layer.0.to_string(), "size": layer.1 }));
    let mut manifest = Map::new();
    manifest.insert("schemaVersion".into(), json!(2));
    manifest.insert("mediaType".into(), json!(media_type));
    manifest.insert("config".into(), json!({ "mediaType": of_config, "digest": config.0.to_string(), "size": config.1 }));
    manifest.insert("layers".into(), Value::Array(layers));
    Ok(Value::Object(manifest).to_string().into_bytes())
}
