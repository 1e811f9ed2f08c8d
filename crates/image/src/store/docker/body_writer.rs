//! Streams an archive to the engine while it is generated.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use stationmaster_train::digest::Sha256Digest;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{ImageError, oci::reference::ImageId};

/// Bytes buffered before they are sent.
const PIECE: usize = 256 * 1024;
/// Maximum number of pieces that wait for the engine.
const WAITING: usize = 4;

/// Stream of the archive's pieces, used as a call's body.
pub(super) type Pieces = ReceiverStream<io::Result<Bytes>>;

/// Ids of loaded images as the engine reports them. They are not trusted, but used for cleanup.
#[derive(Clone, Debug, Default)]
pub struct Loaded(Arc<Mutex<Vec<ImageId>>>);

impl Loaded {
    /// Returns the ids reported so far.
    pub fn ids(&self) -> Vec<ImageId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the id in a line of the engine's response: `Loaded image ID: sha256:…`.
    pub(super) fn note(&self, said: &str) {
        let id = said.find("sha256:").map(|at| said[at..].trim_end());
        if let Some(id) = id.and_then(|id| id.parse::<Sha256Digest>().ok()) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(id.into());
        }
    }
}

/// Sends an archive to the engine. If it is dropped before [`EngineWriter::finish`], it breaks the connection, and the engine
/// discards the received data. Its errors contain an [`ImageError`]: the engine's own response if it sent one.
pub struct EngineWriter {
    handle: Handle,
    sender: Option<mpsc::Sender<io::Result<Bytes>>>,
    call: Option<JoinHandle<Result<(), ImageError>>>,
    piece: Vec<u8>,
    cancel: CancellationToken,
}

impl EngineWriter {
    /// Starts `call`, which takes the pieces as its body and ends with the engine's response.
    pub(super) fn start<F>(handle: Handle, cancel: &CancellationToken, call: impl FnOnce(Pieces) -> F) -> Self
    where
        F: Future<Output = Result<(), ImageError>> + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(WAITING);
        let call = handle.spawn(call(ReceiverStream::new(pieces)));
        Self { handle, sender: Some(sender), call: Some(call), piece: Vec::with_capacity(PIECE), cancel: cancel.clone() }
    }

    fn send(&mut self) -> Result<(), ImageError> {
        if self.cancel.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        if let Some(sender) = &self.sender {
            let is_taken = self.handle.block_on(async {
                tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => Err(ImageError::Cancelled),
                    sent = sender.send(Ok(piece.into())) => Ok(sent.is_ok()),
                }
            })?;
            if is_taken {
                return Ok(());
            }
        }
        // The receiver is dropped only when the engine has responded already: its response contains the reason.
        drop(self.sender.take());
        self.answer()?;
        Err(ImageError::EngineUnavailable("sending an archive: it was not read to its end".into()))
    }

    /// Ends the archive and waits for the engine's response.
    pub fn finish(mut self) -> Result<(), ImageError> {
        if !self.piece.is_empty() {
            self.send()?;
        }
        drop(self.sender.take());
        self.answer()
    }

    fn answer(&mut self) -> Result<(), ImageError> {
        match self.call.take() {
            None => Ok(()),
            Some(call) => self
                .handle
                .block_on(call)
                .unwrap_or_else(|_| Err(ImageError::EngineUnavailable("sending an archive: it broke off".into()))),
        }
    }
}

impl Write for EngineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..n]);
        if self.piece.len() == PIECE {
            self.send().map_err(io::Error::other)?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for EngineWriter {
    fn drop(&mut self) {
        // Dropped before the end: the call is dropped while its body is open, which breaks the connection. The engine must not
        // take a short archive for a whole one, so the body is not ended first.
        if let (Some(sender), Some(call)) = (self.sender.take(), self.call.take()) {
            call.abort();
            let _ = self.handle.block_on(call);
            drop(sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::docker::body_writer::*;

    #[test]
    fn the_ids_of_what_was_loaded_are_noted() {
        let id = format!("sha256:{}", "a1".repeat(32));
        let loaded = Loaded::default();
        for said in [
            format!("Loaded image ID: {id}\n"),
            format!("Loaded image: {id}"),
            "Loaded image: a:b\n".into(),
            format!("Loaded image: {id}x"),
            "sha256:".into(),
        ] {
            loaded.note(&said);
        }
        let id: ImageId = id.parse().unwrap();
        assert_eq!(loaded.ids(), [id.clone(), id]);
    }
}
