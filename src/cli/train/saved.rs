//! A train in a file or in a layout directory, as commands name it.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use tokio_util::sync::CancellationToken;

use crate::{
    cli::error::CliError,
    image::{
        ImageError,
        opt_files::{Home, OptFiles},
        place::layout_at,
    },
    service::status::{Refusal, RpcError},
};

/// Bytes that stay free where what lies in compressed layers is kept meanwhile.
const RESERVE: u64 = 64 << 20;

/// An archive of `/opt`.
pub(super) type Opt = Box<dyn Read + Send>;

/// What a person names, where it is no image of the service's: a file, `-`, or a layout directory. `spool` is a directory with room for what lies
/// in compressed layers.
pub(super) fn opt_at(train: &str, spool: &Path) -> Result<Option<Opt>, CliError> {
    let path = Path::new(train);
    let trouble = |error: io::Error| CliError::file("open", path, &error);
    if train == "-" {
        return Ok(Some(Box::new(io::stdin())));
    }
    if path.is_file() {
        let mut file = File::open(path).map_err(trouble)?;
        let mut start = [0; 4];
        let count = file.read(&mut start).map_err(trouble)?;
        file.rewind().map_err(trouble)?;
        if start[..count].starts_with(b"opt/") || start[..count] == *b"opt\0" {
            return Ok(Some(Box::new(file)));
        }
    } else if layout_at(train).map_err(trouble)?.is_none() {
        return Ok(None);
    }
    let files = saved_at(train, spool)?;
    Ok(Some(Box::new(files.read("/opt", &CancellationToken::new()).map_err(refused)?)))
}

/// A saved image that a person names: an archive in a file, or a layout directory. `spool` is as in [`opt_at`].
pub(super) fn saved_at(place: &str, spool: &Path) -> Result<OptFiles, CliError> {
    let path = Path::new(place);
    let trouble = |error: io::Error| CliError::file("open", path, &error);
    let home = match layout_at(place).map_err(trouble)? {
        Some(layout) => Home::Layout(layout),
        None => Home::archive(File::open(path).map_err(trouble)?),
    };
    Ok(OptFiles::new(home, spool.to_owned(), RESERVE))
}

/// Its refusals are those of the service.
fn refused(error: ImageError) -> CliError {
    RpcError::from(Refusal::from(error)).into()
}
