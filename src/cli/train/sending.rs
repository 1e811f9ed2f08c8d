//! A train that is not an image of the service's: `/opt` of it, sent piece by piece.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::error::CliError,
    image::{
        ImageError,
        opt_files::{Home, OptFiles},
        place::layout_at,
    },
    pb::{OpenResultsRequest, open_results_request::Part},
    service::status::{Refusal, RpcError},
};

/// Bytes of a piece: less than the service takes in one message.
const PIECE: usize = 60 << 10;
/// Pieces that may wait for the connection.
const WAITING: usize = 8;
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
        None => {
            File::open(path).map_err(trouble)?;
            Home::archive(path).map_err(refused)?
        }
    };
    Ok(OptFiles::new(home, spool.to_owned(), RESERVE))
}

/// Its refusals are those of the service.
fn refused(error: ImageError) -> CliError {
    RpcError::from(Refusal::from(error)).into()
}

/// Why an archive that is being sent could not be read, if it could not.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub fn take(&self) -> Option<CliError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(CliError::other)
    }
}

/// Reads the archive on a thread of its own; its pieces, and what may go wrong meanwhile.
pub(super) fn pieces(mut opt: Opt, paths: Vec<String>) -> (ReceiverStream<OpenResultsRequest>, Trouble) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let trouble = Trouble::default();
    let told = trouble.clone();
    std::thread::spawn(move || {
        let mut paths = Some(paths);
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            match opt.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
                Ok(0) if paths.is_none() => return,
                Ok(_) => {
                    let paths = paths.take().unwrap_or_default();
                    if sender.blocking_send(OpenResultsRequest { paths, part: Some(Part::Archive(piece)) }).is_err() {
                        return;
                    }
                }
                // The archive ends here for the service, which refuses it.
                Err(error) => {
                    *told.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("the train cannot be read: {error}"));
                    return;
                }
            }
        }
    });
    (ReceiverStream::new(receiver), trouble)
}
