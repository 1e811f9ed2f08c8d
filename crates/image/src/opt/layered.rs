//! Reads `/opt` of a saved image (a layout, or an archive in a file) as an engine would return it, so that every train passes the
//! same strict reader.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use tokio_util::sync::CancellationToken;

use super::{
    files::{FilesReader, ImageFiles},
    layered_tree::OptTree,
    tar_stream::TarStream,
};
use crate::{ImageError, archive::stored_image::StoredImage, oci::reference::ImageId};

/// A saved image's file tree. Its layers are read, and their digests verified, once: when the first file is requested.
pub struct LayeredTrainTree {
    image: StoredImage,
    /// Directory for the unlinked file that holds the content of compressed layers.
    spool: PathBuf,
    reserve: u64,
    tree: OnceLock<Arc<OptTree>>,
}

impl LayeredTrainTree {
    /// Returns the tree of an image; `reserve` bytes stay free on the disk of `spool`.
    pub fn new(image: StoredImage, spool: PathBuf, reserve: u64) -> Self {
        Self { image, spool, reserve, tree: OnceLock::new() }
    }

    /// Returns the image's id as most engines define it: its configuration's digest. `None` if there is none.
    pub fn image_id(&self, cancel: &CancellationToken) -> Result<Option<ImageId>, ImageError> {
        Ok(self.tree(cancel)?.image_id.clone())
    }

    fn tree(&self, cancel: &CancellationToken) -> Result<Arc<OptTree>, ImageError> {
        if let Some(tree) = self.tree.get() {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(OptTree::read(&self.image, (&self.spool, self.reserve), cancel)?);
        Ok(Arc::clone(self.tree.get_or_init(|| tree)))
    }
}

impl ImageFiles for LayeredTrainTree {
    fn read(&self, path: &str, cancel: &CancellationToken) -> Result<FilesReader, ImageError> {
        let tree = self.tree(cancel)?;
        let path = path.trim_matches('/').as_bytes();
        let found = tree.below(path);
        if found.is_empty() {
            return Err(ImageError::PathMissing);
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        Ok(Box::new(TarStream::new(self.image.clone(), tree, found, parent, cancel.clone())))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use crate::{
        opt::layered::*,
        test_archives::{DIR, FILE, tar_of},
    };

    #[test]
    fn an_archive_of_opt_is_shown_as_an_engine_would_however_it_was_packed() {
        let anew = tar_of(&[
            ("./", DIR, b""),
            ("./opt/train_config.json", FILE, b"{}"),
            ("./opt/pht_train/run", FILE, b"code"),
            ("./opt/", DIR, b""),
            ("./opt/pht_train/", DIR, b""),
        ]);
        let engines = tar_of(&[
            ("opt/", DIR, b""),
            ("opt/pht_train/", DIR, b""),
            ("opt/pht_train/run", FILE, b"code"),
            ("opt/train_config.json", FILE, b"{}"),
        ]);
        let directory = tempfile::tempdir().unwrap();
        for archive in [&anew, &engines] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(archive).unwrap();
            let files = LayeredTrainTree::new(StoredImage::archive(file), directory.path().to_owned(), 0);
            let mut shown = Vec::new();
            files.read("/opt", &CancellationToken::new()).unwrap().read_to_end(&mut shown).unwrap();
            assert!(shown == engines);
        }
    }
}
