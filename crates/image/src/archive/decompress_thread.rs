//! Decompresses a layer on its own thread, while its entries are read.

use std::{
    io::{self, Read},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use super::{
    buffer_pool::{Buffer, BufferPool, BufferReader, WAITING},
    decompress::Compression,
};
use crate::ImageError;

type Piece = io::Result<Arc<Buffer>>;

/// Reader of a decompressed layer, with the errors and limits of [`Compression::inflate`].
///
/// The caller's thread reads the file, which it may have borrowed, whenever no decompressed data is available.
pub(crate) struct DecompressThread<R> {
    file: R,
    blocks: BufferPool,
    /// Compressed data that was read and not handed over yet.
    next: Option<Piece>,
    /// `None` when all data was handed over.
    compressed: Option<Sender<Piece>>,
    plain: Receiver<Piece>,
    reading: BufferReader,
    worker: Option<JoinHandle<()>>,
}

impl<R: Read> DecompressThread<R> {
    pub(crate) fn start(compression: Compression, file: R) -> Result<Self, ImageError> {
        let (compressed, waiting) = bounded(WAITING);
        let (inflated, plain) = bounded(WAITING);
        let body = move || inflate(compression, waiting, &inflated);
        let worker = Builder::new().name("inflate".into()).spawn(body).map_err(|_| BROKE_OFF)?;
        let (blocks, reading) = (BufferPool::default(), BufferReader::default());
        Ok(Self { file, blocks, next: None, compressed: Some(compressed), plain, reading, worker: Some(worker) })
    }
}

impl<R: Read> Read for DecompressThread<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { file, blocks, next, compressed, plain, reading, worker } = self;
        reading.read(buffer, || {
            loop {
                if let Ok(piece) = plain.try_recv() {
                    return piece.map(Some);
                }
                if next.is_none() && compressed.is_some() {
                    *next = match blocks.fill(file) {
                        Ok(block) if block.is_empty() => None,
                        other => Some(other),
                    };
                    if next.is_none() {
                        *compressed = None;
                    }
                }
                // One of the two becomes possible: the thread receives, sends, or has ended.
                let mut select = Select::new();
                let giving = compressed.as_ref().filter(|_| next.is_some()).map(|sender| (select.send(sender), sender));
                select.recv(plain);
                let ready = select.select();
                match giving {
                    Some((index, sender)) if index == ready.index() => {
                        let piece = next.take().unwrap_or_else(|| Err(io::Error::other(BROKE_OFF)));
                        // No data follows an error, and the data is not needed if the thread has ended.
                        let is_last = piece.is_err();
                        if ready.send(sender, piece).is_err() || is_last {
                            *compressed = None;
                        }
                    }
                    _ => match ready.recv(plain) {
                        Ok(piece) => return piece.map(Some),
                        Err(_) => return end(worker).map(|()| None).map_err(io::Error::other),
                    },
                }
            }
        })
    }
}

fn end(worker: &mut Option<JoinHandle<()>>) -> Result<(), ImageError> {
    worker.take().map_or(Ok(()), |worker| worker.join().map_err(|_| BROKE_OFF))
}

/// Body of the thread. It ends at the end of the data, with an error, or when the receiver is dropped.
fn inflate(compression: Compression, compressed: Receiver<Piece>, plain: &Sender<Piece>) {
    let mut blocks = BufferPool::default();
    let mut inflated = match compression.inflate(PipeReader { compressed, reading: BufferReader::default() }) {
        Ok(inflated) => inflated,
        Err(error) => return drop(plain.send(Err(io::Error::other(error)))),
    };
    loop {
        match blocks.fill(&mut inflated) {
            Ok(block) if block.is_empty() => return,
            Ok(block) => {
                if plain.send(Ok(block)).is_err() {
                    return;
                }
            }
            Err(error) => return drop(plain.send(Err(error))),
        }
    }
}

/// Reader of the compressed file, on the thread's side.
struct PipeReader {
    compressed: Receiver<Piece>,
    reading: BufferReader,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let compressed = &self.compressed;
        self.reading.read(buffer, || compressed.recv().ok().transpose())
    }
}

const BROKE_OFF: ImageError = ImageError::BrokeOff("inflating a layer");

#[cfg(test)]
mod tests {
    use crate::archive::{buffer_pool::SIZE, decompress_thread::*};

    fn read(compressed: impl Read) -> (Vec<u8>, io::Result<usize>) {
        let mut plain = Vec::new();
        let ended = DecompressThread::start(Compression::Zstd, compressed).unwrap().read_to_end(&mut plain);
        (plain, ended)
    }

    /// Returns incompressible data, which needs many buffers on both sides.
    fn noise() -> Vec<u8> {
        let mut bytes = vec![0; 11 * SIZE + 17];
        openssl::rand::rand_bytes(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn it_is_what_was_compressed_whichever_side_is_larger() {
        for bytes in [noise(), vec![7; 99 * SIZE], vec![]] {
            let (plain, ended) = read(&zstd::encode_all(&bytes[..], 1).unwrap()[..]);
            assert!(plain == bytes && ended.is_ok_and(|len| len == bytes.len()));
        }
    }

    #[test]
    fn errors_come_behind_the_bytes_before_them_from_either_side() {
        struct ThreadGone;
        impl Read for ThreadGone {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other(ImageError::Cancelled))
            }
        }
        let bytes = noise();
        let compressed = zstd::encode_all(&bytes[..], 1).unwrap();
        let most = &compressed[..compressed.len() - SIZE];
        let (plain, ended) = read(most.chain(ThreadGone));
        assert!(matches!(ended.unwrap_err().downcast::<ImageError>(), Ok(ImageError::Cancelled)));
        assert!(plain.len() > bytes.len() - 2 * SIZE && bytes.starts_with(&plain), "{} bytes", plain.len());
        let (plain, ended) = read(most);
        assert!(ended.is_err() && bytes.starts_with(&plain), "it breaks off");
        let (plain, ended) = read(&[&compressed[..], b"something else"].concat()[..]);
        assert!(ended.is_err() && plain == bytes);
    }

    #[test]
    fn it_may_be_left_in_the_middle() {
        let compressed = zstd::encode_all(&noise()[..], 1).unwrap();
        let mut inflating = DecompressThread::start(Compression::Zstd, &compressed[..]).unwrap();
        inflating.read_exact(&mut [0; 1000]).unwrap();
    }
}
