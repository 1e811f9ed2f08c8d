//! Decompresses layers within limits: a decompression bomb is detected by its expansion ratio.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use flate2::read::MultiGzDecoder;

use crate::ImageError;

/// Bytes that any layer may expand to, however small its compressed size.
const FREE: u64 = 256 * 1024 * 1024;
/// Maximum expansion ratio: layers of programs and data reach some 10, of zeros 1000 and more.
const RATIO: u64 = 100;
/// Maximum window of a zstd frame, as a power of two: 27 would be 128 MiB of memory. `zstd` and builders use up to 2^23.
const WINDOW_LOG: u32 = 23;

/// Compression format of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// Detects the format from the first bytes.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    /// Returns a reader of the decompressed content.
    pub(crate) fn inflate<'a>(self, compressed: impl Read + 'a) -> Result<Decompressed<'a>, ImageError> {
        let taken = Rc::new(Cell::new(0));
        let counted = CountingReader { compressed, taken: Rc::clone(&taken) };
        let plain: Box<dyn Read + 'a> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(counted)),
            Self::Zstd => {
                let flaw = |_| ImageError::Malformed("a compressed layer that cannot be read");
                let mut decoder = zstd::Decoder::new(counted).map_err(flaw)?;
                decoder.window_log_max(WINDOW_LOG).map_err(flaw)?;
                Box::new(decoder)
            }
        };
        Ok(Decompressed { plain, taken, given: 0 })
    }
}

struct CountingReader<R> {
    compressed: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.compressed.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// Reader of a decompressed layer.
pub(crate) struct Decompressed<'a> {
    plain: Box<dyn Read + 'a>,
    taken: Rc<Cell<u64>>,
    given: u64,
}

impl Read for Decompressed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        self.given += count as u64;
        if self.given > FREE.max(self.taken.get().saturating_mul(RATIO)) {
            return Err(io::Error::other(ImageError::Limit("bytes that a compressed layer grows to")));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::archive::decompress::*;

    fn grown(compressed: &[u8]) -> io::Result<u64> {
        let kind = Compression::of(compressed).unwrap();
        io::copy(&mut kind.inflate(compressed).unwrap(), &mut io::sink())
    }

    #[test]
    fn what_grows_without_measure_is_a_bomb() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::copy(&mut io::repeat(0).take(FREE + 1), &mut gzip).unwrap();
        let zstd = zstd::encode_all(io::repeat(0).take(FREE + 1), 1).unwrap();
        for bomb in [gzip.finish().unwrap(), zstd] {
            let error = grown(&bomb).unwrap_err();
            assert!(matches!(error.downcast::<ImageError>(), Ok(ImageError::Limit(_))));
        }
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&[7; 5000]).unwrap();
        let zstd = zstd::encode_all(&[7; 5000][..], 1).unwrap();
        for whole in [gzip.finish().unwrap(), zstd] {
            assert_eq!(grown(&whole).unwrap(), 5000);
            assert!(grown(&whole[..whole.len() - 3]).is_err());
        }
    }
}
