//! Tar, read strictly: one archive has one meaning, or it is refused.
//!
//! Readers of tar disagree: on which of two sizes counts, which of two names, what a global header reaches, what follows an
//! archive's end (CVE-2025-62518, RUSTSEC-2026-0067). An attacker needs two readers that see two archives. So what engines do not
//! write is refused here: sparse and contiguous files, global headers, unknown types, two names or sizes for one entry, numbers
//! that are negative or no numbers, an archive without its end, anything behind it. GNU's long names and PAX headers are read, within bounds.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{ImageError, opt::broken};

mod pax;

use pax::Extension;

/// Tar works in blocks of this many bytes.
const BLOCK: usize = 512;
/// Longest name or target in an entry of its own, in bytes: the longest path of Linux, and its end.
const LONG_NAME: u64 = 4097;
/// Longest PAX header that is read, in bytes: it may carry a few extended attributes of 64 KiB.
const PAX_LIMIT: u64 = 1 << 20;
/// Most zeros behind an archive's end, in bytes: writers fill records.
const END_LIMIT: usize = 1 << 20;

/// One entry's header, with all that was said about it before.
#[derive(Debug)]
pub(super) struct Head {
    /// The name as it is spelled.
    pub path: Vec<u8>,
    /// What it is; never an extension of the format's.
    pub kind: EntryType,
    /// Bytes of its content; 0 for all but regular files.
    pub size: u64,
    /// Permission and set-id bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970; 0 for anything before.
    pub mtime: u64,
    /// A link's target.
    pub target: Option<Vec<u8>>,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// Extended attributes, in the header's order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The entries of an archive, one after the other. As a [`Read`] it gives the content of the newest one.
pub(super) struct Entries<R> {
    archive: R,
    /// Bytes of the open entry's content that have not been read.
    left: u64,
    /// Zeros between that content and the next block.
    padding: usize,
    ended: bool,
    of_layer: bool,
}

/// What came before an entry, about it.
#[derive(Default)]
struct About {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    pax: Option<Extension>,
}

impl<R: Read> Entries<R> {
    /// Reads an archive from its first byte.
    pub fn new(archive: R) -> Self {
        Self { archive, left: 0, padding: 0, ended: false, of_layer: false }
    }

    /// Reads a layer as builders of all kinds write it: it may lack its end or hold more behind it, global headers say nothing, and
    /// contiguous files are files. Nothing else of this is negotiable.
    pub fn of_layer(archive: R) -> Self {
        Self { of_layer: true, ..Self::new(archive) }
    }

    /// The next entry; what was not read of the one before is skipped. `None` once the archive has ended as it should.
    pub fn next(&mut self) -> Result<Option<Head>, ImageError> {
        let mut about = About::default();
        let is_begun = |about: &About| about.name.is_some() || about.target.is_some() || about.pax.is_some();
        while !self.ended {
            self.skip()?;
            let mut block = [0; BLOCK];
            if self.of_layer && self.some(&mut block[..1])? == 0 {
                self.ended = true;
                break;
            }
            self.fill(&mut block[usize::from(self.of_layer)..])?;
            if block == [0; BLOCK] {
                self.end()?;
                break;
            }
            let header = checked(&block)?;
            let size = number(&header.as_old().size)?;
            let slot = match header.entry_type() {
                EntryType::GNULongName => &mut about.name,
                EntryType::GNULongLink => &mut about.target,
                EntryType::XGlobalHeader if self.of_layer => {
                    self.open(size)?;
                    continue;
                }
                EntryType::XHeader => {
                    if about.pax.is_some() {
                        return Err(ImageError::Malformed("two headers for one entry"));
                    }
                    about.pax = Some(Extension::parse(&self.extension(size, PAX_LIMIT)?)?);
                    continue;
                }
                _ => return self.head(header, size, about).map(Some),
            };
            if slot.is_some() {
                return Err(ImageError::Malformed("two names for one entry"));
            }
            *slot = Some(without_end(self.extension(size, LONG_NAME)?));
        }
        if is_begun(&about) { Err(ImageError::Malformed("a header without its entry")) } else { Ok(None) }
    }

    fn head(&mut self, header: &Header, size: u64, about: About) -> Result<Head, ImageError> {
        let kind = match header.entry_type() {
            EntryType::Continuous if self.of_layer => EntryType::Regular,
            kind => kind,
        };
        match kind {
            EntryType::Regular
            | EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo => {}
            _ => return Err(ImageError::Malformed("an entry of unknown type")),
        }
        let pax = about.pax.unwrap_or_default();
        if about.name.is_some() && pax.path.is_some() || about.target.is_some() && pax.target.is_some() {
            return Err(ImageError::Malformed("two names for one entry"));
        }
        let size = match pax.size {
            // Where the header's field is too small for it, writers leave 0 there.
            Some(large) if size == 0 && large >= 1 << 33 => large,
            Some(other) if other != size => return Err(ImageError::Malformed("two sizes for one entry")),
            _ => size,
        };
        let size = match kind {
            EntryType::Regular => size,
            // As engines read layers: whatever it says, no content follows.
            _ if self.of_layer || size == 0 => 0,
            _ => return Err(ImageError::Malformed("content of what has none")),
        };
        let old = header.as_old();
        let head = Head {
            path: about.name.or(pax.path).unwrap_or_else(|| header.path_bytes().into_owned()),
            kind,
            size,
            mode: u32::try_from(number(&old.mode)? & 0o7777).map_err(|_| NUMBER)?,
            uid: pax.uid.map_or_else(|| number(&old.uid), Ok)?,
            gid: pax.gid.map_or_else(|| number(&old.gid), Ok)?,
            target: about.target.or(pax.target).or_else(|| header.link_name_bytes().map(|target| target.into_owned())),
            device: (device(header.device_major()), device(header.device_minor())),
            xattrs: pax.xattrs,
            mtime: if old.mtime[0] & 0xc0 == 0xc0 { 0 } else { number(&old.mtime)? },
        };
        self.open(size)?;
        Ok(head)
    }

    fn open(&mut self, size: u64) -> Result<(), ImageError> {
        // Beyond what a file can be: a position in the archive would not fit its number.
        if size > i64::MAX as u64 {
            return Err(NUMBER);
        }
        self.left = size;
        self.padding = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        Ok(())
    }

    /// The whole content of an entry of the format's own.
    fn extension(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, ImageError> {
        if size > limit {
            return Err(ImageError::Limit("bytes of an archive's header"));
        }
        self.open(size)?;
        let mut content = vec![0; size as usize];
        self.fill(&mut content)?;
        self.left = 0;
        Ok(content)
    }

    fn skip(&mut self) -> Result<(), ImageError> {
        let mut buffer = [0; 32 * 1024];
        while self.left > 0 {
            self.read_content(&mut buffer)?;
        }
        let padding = std::mem::take(&mut self.padding);
        self.fill(&mut buffer[..padding])
    }

    /// One block of zeros has been read: another must follow, and then at most zeros.
    fn end(&mut self) -> Result<(), ImageError> {
        if self.of_layer {
            self.ended = true;
            return Ok(());
        }
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        let mut is_end = block == [0; BLOCK];
        let mut behind = 0;
        let mut buffer = [0; 8 * 1024];
        while is_end {
            match self.some(&mut buffer)? {
                0 => {
                    self.ended = true;
                    return Ok(());
                }
                count => {
                    behind += count;
                    is_end = behind <= END_LIMIT && buffer[..count].iter().all(|byte| *byte == 0);
                }
            }
        }
        Err(ImageError::Malformed("something behind its end"))
    }

    /// A piece of the open entry's content; 0 at its end.
    pub fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        match self.some(&mut buffer[..most])? {
            0 => Err(TOO_EARLY),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), ImageError> {
        while !buffer.is_empty() {
            match self.some(buffer)? {
                0 => return Err(TOO_EARLY),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    fn some(&mut self, buffer: &mut [u8]) -> Result<usize, ImageError> {
        loop {
            match self.archive.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(broken),
            }
        }
    }
}

impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_content(buffer).map_err(io::Error::other)
    }
}

const TOO_EARLY: ImageError = ImageError::Malformed("it ends too early");
const NUMBER: ImageError = ImageError::Malformed("a number in a header");

/// A header whose checksum holds.
fn checked(block: &[u8; BLOCK]) -> Result<&Header, ImageError> {
    let header = Header::from_byte_slice(block);
    let sum: u64 =
        block.iter().enumerate().map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
    if number(&header.as_old().cksum)? == sum { Ok(header) } else { Err(ImageError::Malformed("a checksum")) }
}

/// A header's number: octal digits, or a positive number in base 256.
fn number(field: &[u8]) -> Result<u64, ImageError> {
    if field[0] & 0x80 != 0 {
        let (first, rest) = (field[0], &field[1..]);
        let (above, low) = rest.split_at(rest.len().saturating_sub(8));
        if first != 0x80 || above.iter().any(|byte| *byte != 0) {
            return Err(NUMBER);
        }
        return Ok(low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let text = field.trim_ascii_start();
    let digits = text.iter().take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    if text[digits..].iter().any(|byte| !matches!(byte, 0 | b' ')) || text.is_empty() {
        return Err(NUMBER);
    }
    Ok(text[..digits].iter().fold(0, |sum, digit| sum << 3 | u64::from(digit - b'0')))
}

/// A device's number; 0 where there is none.
fn device(field: io::Result<Option<u32>>) -> u32 {
    field.ok().flatten().unwrap_or(0)
}

/// A name less the NUL at its end.
fn without_end(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests;
