//! Hashes data while it is read, on a separate thread if it is larger than one buffer: hashing a layer takes as long as hashing
//! all files in it.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use stationmaster_train::digest::{FileHasher, Sha256Digest};

use super::buffer_pool::{Buffer, BufferPool, BufferReader, SIZE, WAITING};
use crate::ImageError;

/// Reader that hashes the data it reads.
pub(crate) struct HashingReader<R> {
    file: R,
    blocks: BufferPool,
    reading: BufferReader,
    hasher: Hasher,
}

enum Hasher {
    Here(FileHasher),
    There(Worker),
}

struct Worker {
    blocks: SyncSender<Arc<Buffer>>,
    hasher: JoinHandle<FileHasher>,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(file: R) -> Self {
        Self { file, blocks: BufferPool::default(), reading: BufferReader::default(), hasher: Hasher::Here(FileHasher::new()) }
    }

    /// Returns the digest of all data read.
    pub(crate) fn digest(self) -> Result<Sha256Digest, ImageError> {
        let hasher = match self.hasher {
            Hasher::Here(hasher) => hasher,
            Hasher::There(Worker { blocks, hasher }) => {
                drop(blocks);
                hasher.join().map_err(|_| BROKE_OFF)?
            }
        };
        Ok(hasher.finish())
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { file, blocks, reading, hasher } = self;
        reading.read(buffer, || {
            let block = blocks.fill(file)?;
            hasher.update(&block)?;
            Ok(Some(block))
        })
    }
}

impl Hasher {
    fn update(&mut self, block: &Arc<Buffer>) -> io::Result<()> {
        if let Self::Here(hasher) = self {
            // A buffer that is not full is the last one, and does not justify a thread.
            if block.len() < SIZE {
                hasher.update(block);
                return Ok(());
            }
            *self = Self::There(Worker::start(std::mem::take(hasher)).map_err(io::Error::other)?);
        }
        match self {
            Self::Here(_) => Ok(()),
            Self::There(worker) => worker.blocks.send(Arc::clone(block)).map_err(|_| io::Error::other(BROKE_OFF)),
        }
    }
}

impl Worker {
    /// Starts the thread, which ends when no more buffers can arrive.
    fn start(mut hasher: FileHasher) -> Result<Self, ImageError> {
        let (blocks, waiting) = sync_channel::<Arc<Buffer>>(WAITING);
        let body = move || {
            for block in waiting {
                hasher.update(&block);
            }
            hasher
        };
        let hasher = Builder::new().name("layer-hash".into()).spawn(body).map_err(|_| BROKE_OFF)?;
        Ok(Self { blocks, hasher })
    }
}

const BROKE_OFF: ImageError = ImageError::BrokeOff("hashing a layer");

#[cfg(test)]
mod tests {
    use crate::archive::hash_thread::*;

    #[test]
    fn it_hashes_as_without_a_thread_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..9 * SIZE + 17).map(|i| (i % 251) as u8).collect();
        for (len, cut) in [(0, 1), (1, 1), (SIZE - 1, 1000), (SIZE, SIZE), (SIZE + 1, 777), (bytes.len(), 2 * SIZE)] {
            let mut hashed = HashingReader::new(&bytes[..len]);
            let (mut read, mut buffer) = (Vec::new(), vec![0; cut]);
            loop {
                match hashed.read(&mut buffer).unwrap() {
                    0 => break,
                    count => read.extend_from_slice(&buffer[..count]),
                }
            }
            assert!(
                read == bytes[..len] && hashed.digest().unwrap() == Sha256Digest::of(&bytes[..len]),
                "{len} bytes cut by {cut}"
            );
        }
    }
}
