//! Trains as input of commands: an archive file or a layout directory.

use std::{
    io::{self, Read},
    path::Path,
};

use stationmaster_image::{
    ImageError,
    archive::source::layout_at,
    opt::{backing::LayerBacking, files::ImageFiles, layered::LayeredTrainTree},
};
use stationmaster_system::files::input;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{error::CliError, hints},
    service::status::{Refusal, RpcError},
};

/// Bytes that stay free where what lies in compressed layers is kept meanwhile.
const RESERVE: u64 = 64 << 20;

/// An archive of `/opt`.
pub(super) type Opt = Box<dyn Read + Send>;

/// What a person names, where it is no image of the service's: a file, `-`, or a layout directory; `which` of several images. `spool` is a directory
/// with room for what lies in compressed layers, or comes from standard input.
pub(super) fn opt_at(train: &str, which: Option<&str>, spool: &Path) -> Result<Option<Opt>, CliError> {
    let path = Path::new(train);
    let trouble = |error: io::Error| CliError::file("open", path, &error);
    let files = if train == "-" {
        let mut file = tempfile::tempfile_in(spool).map_err(|error| CliError::directory("write into", spool, &error))?;
        io::copy(&mut io::stdin().lock(), &mut file).map_err(|error| match hints::is_full(&error) {
            true => CliError::directory("write into", spool, &error),
            false => CliError::file("read", Path::new("standard input"), &error),
        })?;
        LayeredTrainTree::new(LayerBacking::archive(file, which), spool.to_owned(), RESERVE)
    } else if is_given(path) || layout_at(train).map_err(trouble)?.is_some() {
        saved_at(train, which, spool)?
    } else {
        return Ok(None);
    };
    Ok(Some(Box::new(files.read("/opt", &CancellationToken::new()).map_err(refused)?)))
}

/// A saved image that a person names: an archive in a file, or a layout directory; `which` of several images. `spool` is as in [`opt_at`].
pub(super) fn saved_at(place: &str, which: Option<&str>, spool: &Path) -> Result<LayeredTrainTree, CliError> {
    let path = Path::new(place);
    let trouble = |error: io::Error| CliError::file("open", path, &error);
    let home = match layout_at(place).map_err(trouble)? {
        Some(layout) => LayerBacking::layout(layout, which),
        None => LayerBacking::archive(input::open_regular(path).map_err(trouble)?, which),
    };
    Ok(LayeredTrainTree::new(home, spool.to_owned(), RESERVE))
}

/// Whether a path names something to be read, which is no directory; whether it can be read is told when it is opened.
fn is_given(path: &Path) -> bool {
    path.metadata().is_ok_and(|facts| !facts.is_dir())
}

/// Its refusals are those of the service.
fn refused(error: ImageError) -> CliError {
    RpcError::from(Refusal::from(error)).into()
}
