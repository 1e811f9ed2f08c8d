//! A stream of the engine's as a plain reader.

use std::io::{self, Read};

use bollard::errors::Error as BollardError;
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{ImageError, fault};

/// Pieces (of some 20 KB) that may wait between the engine's connection and the reader.
const WAITING: usize = 64;

/// Reads what the engine sends. Dropping it closes the connection. Its errors carry an [`ImageError`] inside.
pub struct EngineReader {
    pieces: mpsc::Receiver<Result<Bytes, BollardError>>,
    piece: Bytes,
    cancel: CancellationToken,
}

impl EngineReader {
    /// Consumes the stream in a task of its own: in a runtime's main task the same stream costs three times the CPU.
    pub(super) fn start(
        handle: &Handle,
        stream: impl Stream<Item = Result<Bytes, BollardError>> + Send + 'static,
        cancel: &CancellationToken,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(WAITING);
        let stop = cancel.clone();
        handle.spawn(async move {
            let mut stream = std::pin::pin!(stream);
            loop {
                let piece = tokio::select! {
                    piece = stream.next() => piece,
                    () = stop.cancelled() => None,
                };
                let Some(piece) = piece else { break };
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
        });
        Self { pieces, piece: Bytes::new(), cancel: cancel.clone() }
    }
}

impl Read for EngineReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let received = self.pieces.blocking_recv();
            if self.cancel.is_cancelled() {
                return Err(io::Error::other(ImageError::Cancelled));
            }
            match received {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    let error = match fault("read archive", error) {
                        ImageError::NotFound => ImageError::PathMissing,
                        other => other,
                    };
                    return Err(io::Error::other(error));
                }
            }
        }
        let n = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}
