//! Fixed pool of reusable buffers between a producer and a consumer thread, for files of any length.

use std::{
    io::{self, Read},
    ops::Deref,
    sync::Arc,
};

/// Size of a buffer, in bytes. Each handover costs a wake-up, and a few buffers should fit into a core's cache.
pub(crate) const SIZE: usize = 256 * 1024;
/// Maximum number of buffers that wait for a thread.
pub(crate) const WAITING: usize = 4;

/// A buffer.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Fills buffers. A buffer without other references is reused, so there are never more than threads hold and wait for.
#[derive(Default)]
pub(crate) struct BufferPool {
    all: Vec<Arc<Buffer>>,
    failed: Option<io::Error>,
}

impl BufferPool {
    /// Returns the next part of a file: full buffers except the last, then an empty one. Bytes read before an error are returned
    /// before the error.
    pub(crate) fn fill(&mut self, file: &mut impl Read) -> io::Result<Arc<Buffer>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut block = match self.all.iter_mut().position(|block| Arc::get_mut(block).is_some()) {
            Some(free) => self.all.swap_remove(free),
            None => Arc::new(Buffer { bytes: vec![0; SIZE].into(), len: 0 }),
        };
        if let Some(block) = Arc::get_mut(&mut block) {
            block.len = 0;
            while block.len < SIZE {
                match file.read(&mut block.bytes[block.len..]) {
                    Ok(0) => break,
                    Ok(count) => block.len += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if block.len == 0 => return Err(error),
                    Err(error) => {
                        self.failed = Some(error);
                        break;
                    }
                }
            }
        }
        self.all.push(Arc::clone(&block));
        Ok(block)
    }
}

/// Read position in a buffer.
#[derive(Default)]
pub(crate) struct BufferReader {
    block: Option<Arc<Buffer>>,
    at: usize,
}

impl BufferReader {
    /// Reads on, and calls `next` for the next buffer at the end of this one. `None` is the end of the file.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        next: impl FnOnce() -> io::Result<Option<Arc<Buffer>>>,
    ) -> io::Result<usize> {
        if self.block.as_ref().is_none_or(|block| self.at == block.len()) {
            // Released first, so that it can be reused as the next one.
            self.block = None;
            self.at = 0;
            self.block = next()?;
        }
        let Some(block) = &self.block else { return Ok(0) };
        let count = buffer.len().min(block.len() - self.at);
        buffer[..count].copy_from_slice(&block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use crate::archive::buffer_pool::*;

    /// Reads a thousand bytes at a time, and fails at its end.
    struct Breaking(usize);

    impl Read for Breaking {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.min(buffer.len()).min(1000);
            self.0 -= count;
            if count == 0 { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(count) }
        }
    }

    #[test]
    fn an_error_comes_behind_the_bytes_before_it() {
        for len in [0, 1, SIZE, SIZE + 1] {
            let (mut blocks, mut file, mut read) = (BufferPool::default(), Breaking(len), 0);
            let error = loop {
                match blocks.fill(&mut file) {
                    Ok(block) => read += block.len(),
                    Err(error) => break error,
                }
            };
            assert_eq!((read, error.kind()), (len, io::ErrorKind::ConnectionReset));
        }
    }

    #[test]
    fn a_piece_is_filled_again_only_when_nothing_holds_it() {
        let mut blocks = BufferPool::default();
        let held = blocks.fill(&mut &[1; 10][..]).unwrap();
        for _ in 0..10 {
            assert_eq!(blocks.fill(&mut &[2; 10][..]).unwrap()[..], [2; 10]);
        }
        assert_eq!((&held[..], blocks.all.len()), (&[1; 10][..], 2));
    }
}
