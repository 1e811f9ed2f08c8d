//! Checks the end of a tar archive: the tar reader accepts a missing end, and ignores content after it.

use std::io::{self, Read};

use crate::ImageError;

/// Tar's block size in bytes; two blocks of zeros end an archive.
pub(crate) const BLOCK: usize = 512;
/// Maximum number of zeros after the end: writers fill up their record.
const FILL_LIMIT: u64 = 1 << 20;

/// Reader of an archive that detects a premature end.
pub(crate) struct EndCheckedReader<R> {
    archive: R,
    broke_off: bool,
}

impl<R: Read> EndCheckedReader<R> {
    pub(crate) fn new(archive: R) -> Self {
        Self { archive, broke_off: false }
    }

    /// Checks the end. To be called when the tar reader has found it: one block of zeros was read then, or no data was left.
    pub(crate) fn check_end(mut self) -> Result<(), ImageError> {
        let filled = self.nothing_follows()?;
        if self.broke_off || filled < BLOCK as u64 { Err(ImageError::Malformed("it breaks off")) } else { Ok(()) }
    }

    /// As [`EndCheckedReader::check_end`], but accepts a missing end. Returns how many zeros followed.
    pub(crate) fn nothing_follows(&mut self) -> Result<u64, ImageError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        loop {
            match self.archive.read(&mut block).map_err(ImageError::from_io)? {
                0 => return Ok(filled),
                n if block[..n].iter().any(|byte| *byte != 0) => return Err(ImageError::Malformed("something follows its end")),
                n => filled += n as u64,
            }
            if filled > FILL_LIMIT {
                return Err(ImageError::Malformed("something follows its end"));
            }
        }
    }
}

impl<R: Read> Read for EndCheckedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.archive.read(buffer)?;
        self.broke_off |= n == 0 && !buffer.is_empty();
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use tar::EntryType;

    use crate::tar::{end_check::*, entry::FileAttrs, header_writer::header_blocks};

    fn end_of(archive: &[u8]) -> Result<(), ImageError> {
        let mut tape = EndCheckedReader::new(archive);
        for entry in tar::Archive::new(&mut tape).entries().unwrap() {
            entry.map_err(ImageError::from_io)?;
        }
        tape.check_end()
    }

    #[test]
    fn only_two_blocks_of_zeros_end_an_archive_and_nothing_follows_them() {
        let mut archive = header_blocks("a", EntryType::Regular, FileAttrs::immutable_file(0), 512);
        archive.extend([0; 512]);
        let entry = archive.len();
        archive.extend([0; 20 * 512]);
        end_of(&archive).unwrap();
        end_of(&archive[..entry + 1024]).unwrap();
        for cut in (entry - 512..entry + 1024).step_by(100) {
            assert!(end_of(&archive[..cut]).is_err(), "cut at {cut}");
        }
        let twice = [&archive[..entry + 1024], &archive].concat();
        assert!(end_of(&twice).is_err(), "another archive follows");
    }
}
