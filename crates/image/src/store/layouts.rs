//! Image store in OCI layout directories (OCI image-layout.md), for stations without an engine: `repository:tag` is the image
//! tagged `tag` in the directory `repository` below the station's own.
//!
//! An image's id is `repository@sha256:…`, its manifest's digest. New files have no name until they are complete, so a crash
//! leaves nothing of them. `index.json` is replaced under a lock that all processes of this service use. Layouts are never
//! created here: trains bring their own.
//!
//! A layout may belong to the user who delivers trains, and change at any moment: below the configured directory everything is
//! opened by descriptor, and no link is followed.

pub mod blob;
pub mod build;
pub mod documents;
pub mod index;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture};
use stationmaster_system::{
    failpoint,
    files::{self, Directory, explained},
};
use tokio_util::sync::CancellationToken;

use self::{
    blob::{NewBlob, Readers},
    documents::ImageDocuments,
    index::Index,
};
use crate::{
    ImageError,
    archive::{
        layout_dir::{ImageSelector, Layout},
        source::ImageInput,
        stored_image::StoredImage,
    },
    oci::{
        image_config::ImageMetadata,
        reference::{ImageId, ImageName, ImageSource},
    },
    opt::{files::ImageFiles, layered::LayeredTrainTree},
    store::{
        ImageStore, StoreKind,
        recipe::{BuiltImage, ImageSpec, LayerSource, WriteError},
    },
};

/// Properties of layouts.
const KIND: StoreKind = StoreKind { name: "layouts", bound_to_repository: Some(OTHER_LAYOUT) };
/// Error text: an image would have to move to another layout.
const OTHER_LAYOUT: &str = "an image stays in its layout: give a name of the same repository";

/// Opens the directory of layouts. The software that delivers images creates it; the service does not serve without it.
///
/// # Errors
/// When it does not exist, or is not a directory.
pub fn directory_at(path: &Path) -> io::Result<Directory> {
    Directory::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            error.kind(),
            format!("{} does not exist: the software that delivers images makes it, writable for the service", path.display()),
        ),
        _ => explained(path, error),
    })
}

/// The layouts below one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LayoutStore {
    directory: PathBuf,
    /// Where it is, for messages.
    place: Arc<str>,
    /// Bytes that stay free on the disk.
    reserve: u64,
    /// The group that may read opened trains.
    group: Option<u32>,
}

impl LayoutStore {
    /// Returns the layouts below `directory`; `reserve` bytes stay free on its disk. Opened trains are readable for the service's
    /// user and `group`.
    pub fn new(directory: &Path, reserve: u64, group: Option<u32>) -> Self {
        let place = format!("the layouts below {}", directory.display()).into();
        Self { directory: directory.to_owned(), place, reserve, group }
    }

    /// Checks that the directory is writable.
    fn check_writable(&self) -> Result<(), ImageError> {
        let directory = directory_at(&self.directory).map_err(ImageError::at(blob::PLACE))?;
        NewBlob::create(&directory, 0, self.reserve, Readers::OfDirectory).map(drop)
    }

    /// Returns the layout of a repository; it need not exist.
    fn layout(&self, repository: &str, which: ImageSelector) -> Result<Layout, ImageError> {
        // A repository's grammar excludes such parts. This check guards against a climbing path if the grammar has a gap.
        if !repository.split('/').all(|part| !matches!(part, "" | "." | "..")) {
            return Err(ImageError::Reference("give repository:tag"));
        }
        let root = match Directory::open(&self.directory).and_then(|all| all.enter(repository)) {
            Ok(root) => root,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ImageError::NotFound),
            Err(error) => return Err(ImageError::at(blob::PLACE)(error)),
        };
        let layout = Layout { root: Arc::new(root), which };
        if layout.is_one() { Ok(layout) } else { Err(ImageError::NotFound) }
    }

    /// Returns the layout that contains the image of an id.
    pub(crate) fn of_id(&self, id: &ImageId) -> Result<Layout, ImageError> {
        let (repository, digest) = split(id)?;
        self.layout(repository, ImageSelector::Digest(digest))
    }
}

impl ImageStore for LayoutStore {
    fn kind(&self) -> &'static StoreKind {
        &KIND
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn check(&self) -> BoxFuture<'_, Result<(), ImageError>> {
        async { self.check_writable() }.boxed()
    }

    fn resolve(&self, source: &ImageSource) -> Result<ImageId, ImageError> {
        match source {
            ImageSource::Name(name) => {
                let layout = self.layout(name.repository(), ImageSelector::Tag(name.tag().to_owned()))?;
                Ok(ImageId::in_repository(name, layout.wanted()?.digest.parse()?))
            }
            ImageSource::Id(id) => {
                let (repository, digest) = split(id)?;
                let layout = self.layout(repository, ImageSelector::Only)?;
                if layout.has(&digest)? { Ok(id.clone()) } else { Err(ImageError::NotFound) }
            }
        }
    }

    fn images_of(&self, repository: &str) -> Result<Vec<(ImageId, Vec<String>)>, ImageError> {
        let layout = match self.layout(repository, ImageSelector::Only) {
            Err(ImageError::NotFound) => return Ok(Vec::new()),
            other => other?,
        };
        let digests: HashSet<String> = Index::read(&layout)?.digests().map(str::to_owned).collect();
        let name: ImageName = repository.parse()?;
        let described = digests.into_iter().map(|digest| {
            let config = ImageDocuments::read(&layout, &digest)?.config_digest()?;
            let id = ImageId::in_repository(&name, digest.parse()?);
            let config = id.with_digest(config.parse()?);
            Ok((id.clone(), vec![id.to_string(), config.to_string()]))
        });
        described.collect()
    }

    fn metadata(&self, id: &ImageId) -> Result<ImageMetadata, ImageError> {
        let (layout, (_, digest)) = (self.of_id(id)?, split(id)?);
        ImageDocuments::read(&layout, &digest)?.metadata(id)
    }

    fn files(&self, id: &ImageId) -> Result<Box<dyn ImageFiles>, ImageError> {
        let layout = self.of_id(id)?;
        let (_, digest) = split(id)?;
        if !layout.has(&digest)? {
            return Err(ImageError::NotFound);
        }
        // Next to the layout, so that no content gets to another disk.
        let spool = layout.root.by_descriptor();
        Ok(Box::new(LayeredTrainTree::new(StoredImage::Layout(layout), spool, self.reserve)))
    }

    fn input(&self, id: &ImageId, _: &CancellationToken) -> Result<ImageInput<'static>, ImageError> {
        Ok(ImageInput::Stored(StoredImage::Layout(self.of_id(id)?)))
    }

    fn build(&self, spec: &ImageSpec<'_>, layer: &mut dyn LayerSource) -> Result<BuiltImage, WriteError> {
        build::build(self, spec, layer)
    }

    fn tag(&self, id: &ImageId, name: &ImageName) -> Result<(), ImageError> {
        let (repository, digest) = split(id)?;
        if name.repository() != repository {
            return Err(ImageError::Reference(OTHER_LAYOUT));
        }
        let layout = self.of_id(id)?;
        let _lock = lock(&layout)?;
        if !layout.has(&digest)? {
            return Err(ImageError::NotFound);
        }
        let mut index = Index::read(&layout)?;
        index.name(&ImageDocuments::read(&layout, &digest)?.descriptor(), name.tag());
        index.write(&layout.root)
    }

    fn untag(&self, name: &ImageName) -> Result<(), ImageError> {
        let layout = match self.layout(name.repository(), ImageSelector::Only) {
            Err(ImageError::NotFound) => return Ok(()),
            other => other?,
        };
        let _lock = lock(&layout)?;
        let mut index = Index::read(&layout)?;
        let Some(digest) = index.unname(name.tag()) else { return Ok(()) };
        index.write(&layout.root)?;
        if index.names_of(&digest).next().is_none() { remove_blobs(&layout, index, &digest) } else { Ok(()) }
    }

    fn remove(&self, id: &ImageId) -> Result<(), ImageError> {
        let (_, digest) = split(id)?;
        let layout = match self.of_id(id) {
            Err(ImageError::NotFound) => return Ok(()),
            other => other?,
        };
        let _lock = lock(&layout)?;
        let index = Index::read(&layout)?;
        if index.names_of(&digest).next().is_some() {
            return Err(ImageError::InUse);
        }
        remove_blobs(&layout, index, &digest)
    }

    fn images_using(&self, id: &ImageId) -> Result<Vec<String>, ImageError> {
        let (repository, digest) = split(id)?;
        let layout = self.of_id(id)?;
        if !layout.has(&digest)? {
            return Err(ImageError::NotFound);
        }
        Ok(Index::read(&layout)?.names_of(&digest).map(|tag| format!("name:{repository}:{tag}")).collect())
    }
}

/// Removes an image without a name, and blobs that no other image of the layout needs. Its manifest is removed last: the removal
/// can be repeated from the manifest alone.
fn remove_blobs(layout: &Layout, mut index: Index, digest: &str) -> Result<(), ImageError> {
    if index.remove(digest) {
        index.write(&layout.root)?;
    }
    let image = match ImageDocuments::read_manifest(layout, digest) {
        Err(ImageError::NotFound) => return Ok(()),
        other => other?,
    };
    let needed = documents::needed(layout, index.digests())?;
    failpoint::point("layout/removing");
    for blob in image.blobs().filter(|blob| !needed.contains(blob)) {
        layout.remove(&blob)?;
        failpoint::point("layout/removed");
    }
    layout.remove(digest)
}

/// Locks a layout while its index is read and written. Leftovers of an index from a crash are removed.
fn lock(layout: &Layout) -> Result<Directory, ImageError> {
    // A separate descriptor: the lock ends with it.
    let locked = layout.root.enter("").map_err(ImageError::at(blob::PLACE))?;
    files::lock(&locked).map_err(ImageError::at(blob::PLACE))?;
    Index::clear(&locked)?;
    Ok(locked)
}

/// Returns the repository and the manifest's digest of an id.
fn split(id: &ImageId) -> Result<(&str, String), ImageError> {
    let repository = id.repository().ok_or(ImageError::Reference("an image's id in a layout is repository@sha256:…"))?;
    Ok((repository, id.digest().to_string()))
}

/// Converts an error of a layout's disk.
fn failed(error: io::Error) -> ImageError {
    ImageError::at(blob::PLACE)(error)
}
