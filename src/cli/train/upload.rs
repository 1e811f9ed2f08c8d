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

/// Size of a piece in bytes: less than the service's maximum message size.
const PIECE: usize = 60 << 10;
/// Number of pieces that may wait for the connection.
const WAITING: usize = 8;

/// The read error of an archive that is being sent, if there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadFailure(Arc<Mutex<Option<String>>>);

impl ReadFailure {
    pub(super) fn take(&self) -> Option<CliError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(CliError::other)
    }
}

/// Reads the archive on a thread of its own; returns its pieces, and its read error.
pub(super) fn pieces(mut opt: Opt, paths: Vec<String>) -> (ReceiverStream<OpenResultsRequest>, ReadFailure) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let trouble = ReadFailure::default();
    let failed = trouble.clone();
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
                    *failed.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("the train cannot be read: {error}"));
                    return;
                }
            }
        }
    });
    (ReceiverStream::new(receiver), trouble)
}
