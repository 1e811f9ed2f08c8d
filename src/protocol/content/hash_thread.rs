//! Hashes results on a separate thread while the caller's thread opens or seals and writes them: hashing takes about as long as
//! the rest.

use std::{
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread::{Builder, JoinHandle},
};

use stationmaster_train::digest::{Digest, ResultHasher};
use zeroize::Zeroizing;

use crate::protocol::context::error::StepError;

/// Bytes collected per piece; a smaller total is hashed without a thread.
const PIECE: usize = 256 * 1024;
/// Pieces that may be queued.
const WAITING: usize = 4;

/// Plaintext, wiped when dropped.
pub(in crate::protocol) type Piece = Zeroizing<Vec<u8>>;

/// A [`ResultHasher`] on another thread.
pub(in crate::protocol) struct ThreadedHasher {
    piece: Piece,
    worker: Option<Worker>,
}

struct Worker {
    pieces: SyncSender<Piece>,
    emptied: Receiver<Piece>,
    hasher: JoinHandle<ResultHasher>,
}

impl Worker {
    fn start() -> Result<Self, StepError> {
        let (pieces, waiting) = sync_channel::<Piece>(WAITING);
        let (back, emptied) = channel();
        let body = move || hash(&waiting, &back);
        let hasher = Builder::new().name("hash".into()).spawn(body);
        let hasher = hasher.map_err(|_| StepError::Invariant("no thread could be started"))?;
        Ok(Self { pieces, emptied, hasher })
    }
}

fn hash(pieces: &Receiver<Piece>, back: &Sender<Piece>) -> ResultHasher {
    let mut hasher = ResultHasher::new();
    for mut piece in pieces {
        hasher.update(&piece);
        piece.clear();
        // The receiver no longer exists once the last piece has been sent.
        let _ = back.send(piece);
    }
    hasher
}

impl ThreadedHasher {
    /// Makes a hasher without input.
    pub(crate) fn new() -> Self {
        Self { piece: Piece::default(), worker: None }
    }

    /// Adds plaintext of the result files, one file after the other.
    pub(crate) fn update(&mut self, mut plaintext: &[u8]) -> Result<(), StepError> {
        while !plaintext.is_empty() {
            let (now, later) = plaintext.split_at(plaintext.len().min(PIECE - self.piece.len()));
            if self.piece.capacity() < PIECE {
                // Reserved once and completely: a buffer that grows would leave copies of plaintext behind.
                self.piece.reserve_exact(PIECE);
            }
            self.piece.extend_from_slice(now);
            plaintext = later;
            if self.piece.len() == PIECE {
                self.hand_over()?;
            }
        }
        Ok(())
    }

    /// As [`ThreadedHasher::update`], and empties `plaintext`: a large piece is passed on without a copy and replaced by another
    /// buffer.
    pub(crate) fn take(&mut self, plaintext: &mut Piece) -> Result<(), StepError> {
        if plaintext.len() < PIECE / 4 {
            self.update(plaintext)?;
            plaintext.clear();
            return Ok(());
        }
        if !self.piece.is_empty() {
            self.hand_over()?;
        }
        std::mem::swap(&mut self.piece, plaintext);
        self.hand_over()?;
        std::mem::swap(&mut self.piece, plaintext);
        Ok(())
    }

    /// Adds the session id and returns the digest.
    pub(crate) fn finish(mut self, session_id: &[u8]) -> Result<Digest, StepError> {
        if self.worker.is_some() {
            self.hand_over()?;
        }
        let mut hasher = match self.worker {
            Some(Worker { pieces, hasher, .. }) => {
                drop(pieces);
                hasher.join().map_err(|_| BROKE_OFF)?
            }
            None => ResultHasher::new(),
        };
        hasher.update(&self.piece);
        Ok(hasher.finish(session_id))
    }

    fn hand_over(&mut self) -> Result<(), StepError> {
        if self.worker.is_none() {
            self.worker = Some(Worker::start()?);
        }
        let Some(worker) = &self.worker else { return Err(BROKE_OFF) };
        let empty = worker.emptied.try_recv().unwrap_or_default();
        worker.pieces.send(std::mem::replace(&mut self.piece, empty)).map_err(|_| BROKE_OFF)
    }
}

const BROKE_OFF: StepError = StepError::Invariant("hashing broke off");

#[cfg(test)]
mod tests {
    use crate::protocol::content::hash_thread::*;

    fn threaded_digest(bytes: &[u8]) -> Digest {
        let mut hasher = ResultHasher::new();
        hasher.update(bytes);
        hasher.finish(b"session")
    }

    #[test]
    fn it_hashes_as_without_a_thread_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..3 * PIECE + 17).map(|i| (i % 251) as u8).collect();
        for (len, cut) in [(0, 1), (1, 1), (PIECE - 1, 1000), (PIECE, PIECE), (PIECE + 1, 777), (bytes.len(), 2 * PIECE)] {
            let mut threaded = ThreadedHasher::new();
            for piece in bytes[..len].chunks(cut) {
                threaded.update(piece).unwrap();
            }
            let mut taken = ThreadedHasher::new();
            for piece in bytes[..len].chunks(cut) {
                let mut piece = Piece::new(piece.to_vec());
                taken.take(&mut piece).unwrap();
                assert!(piece.is_empty());
            }
            assert_eq!(taken.finish(b"session").unwrap(), threaded_digest(&bytes[..len]), "{len} bytes cut by {cut}, taken");
            assert_eq!(threaded.finish(b"session").unwrap(), threaded_digest(&bytes[..len]), "{len} bytes cut by {cut}");
        }
    }
}
