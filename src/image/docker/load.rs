//! Writing an image: the archive that the engine loads, produced while it is sent.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use bollard::{Docker, body_try_stream, query_parameters::ImportImageOptionsBuilder};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{ImageError, fault};

/// Bytes gathered before they are sent.
const PIECE: usize = 256 * 1024;
/// Pieces that may wait for the engine.
const WAITING: usize = 4;

/// The ids that the engine says it has given to what it loaded. Not to be believed, but to be cleared away.
#[derive(Clone, Debug, Default)]
pub struct Loaded(Arc<Mutex<Vec<String>>>);

impl Loaded {
    /// The ids so far.
    pub fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what a line of the engine's answer says: `Loaded image ID: sha256:…`.
    fn note(&self, said: &str) {
        let id = said.find("sha256:").map(|at| said[at..].trim_end());
        if let Some(id) = id.filter(|id| id.len() == 71 && id[7..].bytes().all(|byte| byte.is_ascii_hexdigit())) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(id.to_owned());
        }
    }
}

/// Sends an archive to the engine. Dropped before [`ImageWriter::finish`] it breaks the connection, and the engine throws away
/// what it has.
pub struct ImageWriter {
    handle: Handle,
    sender: Option<mpsc::Sender<io::Result<Bytes>>>,
    load: Option<JoinHandle<Result<(), ImageError>>>,
    piece: Vec<u8>,
    cancel: CancellationToken,
}

impl ImageWriter {
    pub(super) fn start(handle: Handle, docker: Docker, cancel: &CancellationToken, loaded: Loaded) -> Self {
        let (sender, pieces) = mpsc::channel(WAITING);
        let load = handle.spawn(async move {
            let options = ImportImageOptionsBuilder::new().quiet(true).build();
            let mut answers = std::pin::pin!(docker.import_image(options, body_try_stream(ReceiverStream::new(pieces)), None));
            while let Some(answer) = answers.next().await {
                let answer = answer.map_err(|e| fault("load image", e))?;
                if let Some(detail) = answer.error_detail.and_then(|detail| detail.message) {
                    return Err(ImageError::Engine { call: "load image", detail });
                }
                if let Some(said) = answer.stream {
                    loaded.note(&said);
                }
            }
            Ok(())
        });
        Self { handle, sender: Some(sender), load: Some(load), piece: Vec::with_capacity(PIECE), cancel: cancel.clone() }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(ImageError::Cancelled));
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sender = self.sender.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        self.handle.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Err(io::Error::other(ImageError::Cancelled)),
                // The receiver is gone only when the engine has answered already: its answer says why.
                sent = sender.send(Ok(piece.into())) => sent.map_err(|_| io::ErrorKind::BrokenPipe.into()),
            }
        })
    }

    /// Ends the archive and waits for the engine's answer.
    pub fn finish(mut self) -> Result<(), ImageError> {
        if !self.piece.is_empty() {
            self.send().map_err(|error| self.explain(error))?;
        }
        drop(self.sender.take());
        self.answer()
    }

    /// What an error while writing means: the engine's own answer where it gave one.
    pub fn explain(&mut self, error: io::Error) -> ImageError {
        match error.downcast::<ImageError>() {
            Ok(ours) => ours,
            Err(error) => {
                drop(self.sender.take());
                match self.answer() {
                    Err(engine) => engine,
                    Ok(()) => ImageError::EngineUnavailable(format!("load image: {error}")),
                }
            }
        }
    }

    fn answer(&mut self) -> Result<(), ImageError> {
        match self.load.take() {
            None => Ok(()),
            Some(load) => self
                .handle
                .block_on(load)
                .unwrap_or_else(|_| Err(ImageError::EngineUnavailable("load image: it broke off".into()))),
        }
    }
}

impl Write for ImageWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..n]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ImageWriter {
    fn drop(&mut self) {
        // Given up in the middle: the call is dropped while its body is open, which breaks the connection. The engine must not
        // take a short archive for a whole one, so the body is not ended first.
        if let (Some(sender), Some(load)) = (self.sender.take(), self.load.take()) {
            load.abort();
            let _ = self.handle.block_on(load);
            drop(sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(loaded.ids(), [id.clone(), id]);
    }
}
