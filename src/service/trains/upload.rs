//! An archive that a caller sends, as a plain reader for a step.

use std::io::{self, Read};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::{
    image::ImageError,
    pb::{self, open_results_request, verify_train_request::Part},
    service::status::{Reason, RpcError},
};

/// Pieces that may wait for the step: at most half a mebibyte, with the usual limit of a request.
const WAITING: usize = 8;

/// What the step reads.
pub(super) struct Archive {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    read: usize,
}

/// A way for pieces, and its end.
pub(super) fn archive() -> (mpsc::Sender<Vec<u8>>, Archive) {
    let (sender, pieces) = mpsc::channel(WAITING);
    (sender, Archive { pieces, piece: Vec::new(), read: 0 })
}

impl Archive {
    /// The same, which fails when the step is cancelled: an upload that is given up must not read as an archive that ends.
    pub fn until(self, cancel: CancellationToken) -> impl Read {
        Cancellable { archive: self, cancel }
    }
}

struct Cancellable {
    archive: Archive,
    cancel: CancellationToken,
}

impl Read for Cancellable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let archive = &mut self.archive;
        while archive.read == archive.piece.len() {
            let next = archive.pieces.blocking_recv();
            if self.cancel.is_cancelled() {
                return Err(io::Error::other(ImageError::Cancelled));
            }
            let Some(piece) = next else { return Ok(0) };
            (archive.piece, archive.read) = (piece, 0);
        }
        let n = buffer.len().min(archive.piece.len() - archive.read);
        buffer[..n].copy_from_slice(&archive.piece[archive.read..archive.read + n]);
        archive.read += n;
        Ok(n)
    }
}

/// Hands the pieces to the step until both have ended. A caller's error ends the step; a step that has its answer reads no more.
pub(super) async fn while_sent<M: Message, T>(
    parts: Streaming<M>,
    first: Vec<u8>,
    sender: mpsc::Sender<Vec<u8>>,
    step: impl Future<Output = Result<T, RpcError>>,
) -> Result<T, RpcError> {
    let mut step = std::pin::pin!(step);
    // The step is dropped on an error of the caller's, which cancels it; its reader then ends with the sender.
    tokio::select! {
        biased;
        answer = &mut step => answer,
        pumped = pump(parts, first, sender) => {
            pumped?;
            step.await
        }
    }
}

/// Hands the pieces to a step that answers while it reads: until they end, or it wants no more. An archive that the caller broke off has
/// no end, and is refused for that.
pub(super) fn beside<M: Message>(parts: Streaming<M>, first: Vec<u8>, sender: mpsc::Sender<Vec<u8>>) {
    tokio::spawn(async move {
        let closed = sender.clone();
        tokio::select! {
            biased;
            () = closed.closed() => {}
            _ = pump(parts, first, sender) => {}
        }
    });
}

/// A message that may hold a piece of an archive.
pub(super) trait Message: Send + 'static {
    /// The piece, if it holds that and nothing else.
    fn piece(self) -> Option<Vec<u8>>;
}

impl Message for pb::VerifyTrainRequest {
    fn piece(self) -> Option<Vec<u8>> {
        match self.part {
            Some(Part::Archive(piece)) => Some(piece),
            _ => None,
        }
    }
}

impl Message for pb::OpenResultsRequest {
    fn piece(self) -> Option<Vec<u8>> {
        match self.part {
            Some(open_results_request::Part::Archive(piece)) if self.paths.is_empty() => Some(piece),
            _ => None,
        }
    }
}

async fn pump<M: Message>(mut parts: Streaming<M>, first: Vec<u8>, sender: mpsc::Sender<Vec<u8>>) -> Result<(), RpcError> {
    let mut next = Some(first);
    while let Some(piece) = next {
        if sender.send(piece).await.is_err() {
            break;
        }
        next = match parts.message().await? {
            None => None,
            Some(message) => match message.piece() {
                None => return Err(Reason::MalformedRequest.status("only pieces of the archive follow its first").into()),
                piece => piece,
            },
        };
    }
    Ok(())
}
