//! Reads and writes `index.json`, a layout's images and their names (OCI image-index.md). Unknown fields are kept.

use std::io::Write;

use serde_json::{Map, Value, json};
use stationmaster_system::{failpoint, files::Directory};

use super::failed;
use crate::{
    ImageError,
    archive::layout_dir::Layout,
    oci::{descriptors::REF_NAME, strict_json::parse},
};

const FILE: &str = "index.json";

/// A layout's index.
pub(super) struct Index {
    rest: Map<String, Value>,
    manifests: Vec<Map<String, Value>>,
}

impl Index {
    pub(super) fn read(layout: &Layout) -> Result<Self, ImageError> {
        let malformed = || ImageError::Malformed("index.json");
        let index: Value = parse(&layout.document(FILE)?, FILE)?;
        let Value::Object(mut rest) = index else { return Err(malformed()) };
        let Some(Value::Array(manifests)) = rest.remove("manifests") else { return Err(malformed()) };
        let objects = manifests.into_iter().map(|one| match one {
            Value::Object(one) if one.get("digest").is_some_and(Value::is_string) => Ok(one),
            _ => Err(malformed()),
        });
        let manifests = objects.collect::<Result<_, _>>()?;
        Ok(Self { rest, manifests })
    }

    /// Removes incomplete index files that never got their name.
    pub(super) fn clear(root: &Directory) -> Result<(), ImageError> {
        root.clear(FILE).map_err(failed)
    }

    /// Returns the digests of the images.
    pub(super) fn digests(&self) -> impl Iterator<Item = &str> {
        self.manifests.iter().map(digest)
    }

    /// Returns the names of an image.
    pub(super) fn names_of<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        self.manifests.iter().filter(move |one| digest(one) == wanted).filter_map(name)
    }

    /// Adds an image without a name, if it is not in the index.
    pub(super) fn add(&mut self, descriptor: &Map<String, Value>) {
        if !self.manifests.iter().any(|one| digest(one) == digest(descriptor)) {
            self.manifests.push(descriptor.clone());
        }
    }

    /// Names an image. The image that had the name before stays, without a name if this was its last.
    pub(super) fn name(&mut self, descriptor: &Map<String, Value>, tag: &str) {
        let wanted = digest(descriptor).to_owned();
        self.unname(tag);
        self.manifests.retain(|one| digest(one) != wanted || name(one).is_some());
        let mut named = descriptor.clone();
        named.insert("annotations".into(), json!({ REF_NAME: tag }));
        self.manifests.push(named);
    }

    /// Removes a name and returns the digest of its image. The image stays.
    pub(super) fn unname(&mut self, tag: &str) -> Option<String> {
        let at = self.manifests.iter().position(|one| name(one) == Some(tag))?;
        let mut one = self.manifests.remove(at);
        let was = digest(&one).to_owned();
        if let Some(Value::Object(annotations)) = one.get_mut("annotations") {
            annotations.remove(REF_NAME);
        }
        if !self.manifests.iter().any(|one| digest(one) == was) {
            self.manifests.push(one);
        }
        Some(was)
    }

    /// Removes an image; returns whether it was in the index.
    pub(super) fn remove(&mut self, wanted: &str) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|one| digest(one) != wanted);
        self.manifests.len() != before
    }

    /// Replaces the layout's index atomically: readers get the previous one or this one.
    pub(super) fn write(&self, root: &Directory) -> Result<(), ImageError> {
        let mut index = self.rest.clone();
        index.insert("manifests".into(), self.manifests.iter().cloned().map(Value::Object).collect());
        let write = || {
            // Readable for the same users as the previous one.
            let mode = root.stat_of(FILE)?.map_or(0o644, |before| before.st_mode & 0o664 | 0o600);
            let mut new = root.begin(FILE, mode)?;
            new.write_all(Value::Object(index).to_string().as_bytes())?;
            let new = new.sync()?;
            failpoint::point("layout/index");
            new.publish()
        };
        write().map_err(failed)
    }
}

fn digest(descriptor: &Map<String, Value>) -> &str {
    descriptor.get("digest").and_then(Value::as_str).unwrap_or_default()
}

fn name(descriptor: &Map<String, Value>) -> Option<&str> {
    descriptor.get("annotations")?.get(REF_NAME)?.as_str()
}

#[cfg(test)]
mod tests {
    use crate::store::layouts::index::*;

    fn descriptor(digest: &str) -> Map<String, Value> {
        json!({ "digest": digest, "size": 1 }).as_object().unwrap().clone()
    }

    fn index() -> Index {
        Index { rest: Map::new(), manifests: Vec::new() }
    }

    #[test]
    fn an_image_keeps_its_place_when_its_last_name_goes_to_another() {
        let mut index = index();
        index.name(&descriptor("one"), "latest");
        index.name(&descriptor("two"), "latest");
        assert_eq!(index.digests().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(index.names_of("one").count(), 0);
        assert_eq!(index.names_of("two").collect::<Vec<_>>(), ["latest"]);
        assert_eq!(index.unname("latest").as_deref(), Some("two"));
        assert_eq!(index.unname("latest"), None);
        assert!(index.remove("two") && !index.remove("two"));
    }

    #[test]
    fn an_image_may_have_several_names_and_is_there_once_without() {
        let mut index = index();
        index.add(&descriptor("one"));
        index.add(&descriptor("one"));
        assert_eq!(index.manifests.len(), 1);
        index.name(&descriptor("one"), "a");
        index.name(&descriptor("one"), "b");
        assert_eq!(index.names_of("one").collect::<Vec<_>>(), ["a", "b"]);
        index.unname("a");
        assert_eq!(index.manifests.len(), 1);
    }
}
