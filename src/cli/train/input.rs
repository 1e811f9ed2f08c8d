//! Trains as input of commands: an archive file or a layout directory.

use std::{
    io::{self, Read},
    path::Path,
};

use stationmaster_image::{
    ImageError,
    archive::{source::layout_at, stored_image::StoredImage},
    opt::{files::ImageFiles, layered::LayeredTrainTree},
};
use stationmaster_system::files::input;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{error::CliError, hints},
    service::status::{Refusal, RpcError},
};

/// Bytes that stay free on the disk of the spool.
const RESERVE: u64 = 64 << 20;

/// An archive of `/opt`.
pub(super) type Opt = Box<dyn Read + Send>;

/// Opens a train that is not an image of the service: a file, `-`, or a layout directory; `which` selects one of several images. `spool`
/// is a directory with space for decompressed layers, or for standard input.
pub(super) fn opt_at(train: &str, which: Option<&str>, spool: &Path) -> Result<Option<Opt>, CliError> {
    let path = Path::new(train);
    let trouble = |error: io::Error| CliError::file("open", path, &error);
    let files = if train == "-" {
        let mut file = tempfile::tempfile_in(spool).map_err(|error| CliError::directory("write into", spool, &error))?;
        io::copy(&mut io::stdin().lock(), &mut file).map_err(|error| match hints::is_full(&error) {
            true => CliError::directory("write into", spool, &error),
            false => CliError::file("read", Path::new("standard input"), &error),
        })?;
        LayeredTrainTree::new(StoredImage::archive(file).choose(which), spool.to_owned(), RESERVE)
    } else if is_readable_path(path) || layout_at(train).map_err(trouble)?.is_some() {
        saved_at(train, which, spool)?
    } else {
        return Ok(None);
    };
    Ok(Some(Box::new(files.read("/opt", &CancellationToken::new()).map_err(refused)?)))
}

/// Opens a saved image: an archive in a file, or a layout directory; `which` selects one of several images. `spool` is as in [`opt_at`].
pub(super) fn saved_at(place: &str, which: Option<&str>, spool: &Path) -> Result<LayeredTrainTree, CliError> {
    let path = Path::new(place);
    let trouble = |error: io::Error| CliError::file("open", path, &error);
    let image = match layout_at(place).map_err(trouble)? {
        Some(layout) => StoredImage::Layout(layout),
        None => StoredImage::archive(input::open_regular(path).map_err(trouble)?),
    };
    Ok(LayeredTrainTree::new(image.choose(which), spool.to_owned(), RESERVE))
}

/// Returns whether a path exists and is not a directory. Whether it is readable is checked when it is opened.
fn is_readable_path(path: &Path) -> bool {
    path.metadata().is_ok_and(|facts| !facts.is_dir())
}

/// Converts an error as the service does.
fn refused(error: ImageError) -> CliError {
    RpcError::from(Refusal::from(error)).into()
}
