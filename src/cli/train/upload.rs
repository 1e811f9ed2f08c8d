//! Uploads `/opt` of a train to the service in pieces, when the train is not an image in the service's engine.

use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use stationmaster_proto::{OpenResultsRequest, open_results_request::Part};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::input::Opt;
use crate::cli::error::CliError;

/// Bytes of a piece: less than the service takes in one message.
const PIECE: usize = 60 << 10;
/// Pieces that may wait for the connection.
const WAITING: usize = 8;

/// Why an archive that is being sent could not be read, if it could not.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(super) fn take(&self) -> Option<CliError> {
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
