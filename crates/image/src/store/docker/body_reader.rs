//! Reads a streamed response of the engine through `std::io::Read`.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use bollard::errors::Error as BollardError;
use bytes::{Buf, Bytes};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::engine_error::fault;
use crate::ImageError;

/// Bytes that are handed over at once, if available: waking the reader for each piece (of some 30 KB) costs more than
/// processing it.
const HANDFUL: usize = 256 * 1024;
/// Maximum number of batches that wait between the engine's connection and the reader.
const WAITING: usize = 4;

type Piece = Result<Bytes, BollardError>;

/// Reader of an engine's response. Dropping it closes the connection. Its errors contain an [`ImageError`].
pub struct EngineReader {
    handfuls: Receiver<Vec<Piece>>,
    pieces: std::vec::IntoIter<Piece>,
    piece: Bytes,
    cancel: CancellationToken,
}

impl EngineReader {
    /// Consumes the stream of `open` on a thread and a connection of its own: between the threads of a runtime each piece would
    /// be handed over twice, which costs as much processor time as everything else.
    pub(super) fn start<S: Stream<Item = Piece>>(
        open: impl FnOnce() -> S + Send + 'static,
        cancel: &CancellationToken,
    ) -> Result<Self, ImageError> {
        let (sender, handfuls) = sync_channel(WAITING);
        let stop = cancel.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let broken = |error: io::Error| ImageError::EngineUnavailable(format!("read archive: {error}"));
        let runtime = runtime.map_err(broken)?;
        let body = move || {
            runtime.block_on(async { pump(open(), &sender, &stop).await });
        };
        std::thread::Builder::new().name("engine-read".into()).spawn(body).map_err(broken)?;
        Ok(Self { handfuls, pieces: Vec::new().into_iter(), piece: Bytes::new(), cancel: cancel.clone() })
    }
}

/// Hands the stream's pieces over until it ends, the receiver is dropped, or the step is cancelled.
async fn pump(stream: impl Stream<Item = Piece>, sender: &SyncSender<Vec<Piece>>, stop: &CancellationToken) {
    let mut stream = std::pin::pin!(stream);
    loop {
        let first = tokio::select! {
            first = stream.next() => first,
            () = stop.cancelled() => None,
        };
        let Some(first) = first else { break };
        let mut bytes = first.as_ref().map_or(0, Bytes::len);
        let mut handful = vec![first];
        while bytes < HANDFUL {
            // The connection's task prepares the next piece, if it has one.
            tokio::task::yield_now().await;
            let Some(Some(piece)) = stream.next().now_or_never() else { break };
            bytes += piece.as_ref().map_or(0, Bytes::len);
            handful.push(piece);
        }
        if sender.send(handful).is_err() {
            break;
        }
    }
}

impl EngineReader {
    /// Takes the next piece that is not empty, and waits for it only if `wait`. `false` if there is none.
    fn take(&mut self, wait: bool) -> io::Result<bool> {
        while self.piece.is_empty() {
            let Some(piece) = self.pieces.next() else {
                let handful = if wait { self.handfuls.recv().ok() } else { self.handfuls.try_recv().ok() };
                if self.cancel.is_cancelled() {
                    return Err(io::Error::other(ImageError::Cancelled));
                }
                let Some(handful) = handful else { return Ok(false) };
                self.pieces = handful.into_iter();
                continue;
            };
            self.piece = piece.map_err(|error| match fault("read archive", error) {
                ImageError::NotFound => io::Error::other(ImageError::PathMissing),
                other => io::Error::other(other),
            })?;
        }
        Ok(true)
    }
}

impl Read for EngineReader {
    /// Fills the buffer with all available bytes; waits only for the first of them.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if !self.take(filled == 0)? {
                break;
            }
            let n = self.piece.len().min(buffer.len() - filled);
            self.piece.copy_to_slice(&mut buffer[filled..filled + n]);
            filled += n;
        }
        Ok(filled)
    }
}
