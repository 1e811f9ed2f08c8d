//! A bound on what the `tar` crate keeps in memory: it reads an entry's long names and PAX records, whatever their length, before it
//! hands the entry out. For archives of images, whose layers come from anywhere; `/opt` has a reader of its own ([`super::entries`]).

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use tar::{Entries, Entry};

use super::{ImageError, opt::broken};

/// Most bytes between an entry's content and the next entry's: headers, names, PAX records with extended attributes.
const HEADERS: u64 = 4 * 1024 * 1024;

/// An archive that is read up to a place and no further.
pub(super) struct Bounded<R> {
    archive: R,
    position: u64,
    end: Rc<Cell<u64>>,
}

/// Where a [`Bounded`] archive is read to; moves on with the entries.
pub(super) struct Bound(Rc<Cell<u64>>);

/// Bounds an archive that nothing was read of yet. All of its entries must be taken through [`Bound::next`].
pub(super) fn bounded<R: Read>(archive: R) -> (Bounded<R>, Bound) {
    let end = Rc::new(Cell::new(HEADERS));
    (Bounded { archive, position: 0, end: Rc::clone(&end) }, Bound(end))
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.get().saturating_sub(self.position);
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other(ImageError::Limit("bytes of an entry's headers")));
        }
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.archive.read(&mut buffer[..most])?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Bound {
    /// The next entry; from then on the archive may be read to that entry's end and the headers after it.
    pub fn next<'a, R: Read>(&self, entries: &mut Entries<'a, R>) -> Result<Option<Entry<'a, R>>, ImageError> {
        let Some(entry) = entries.next().transpose().map_err(broken)? else { return Ok(None) };
        // A sparse file's size is more than the archive has of it.
        let stored = match entry.header().entry_type().is_gnu_sparse() {
            true => entry.header().entry_size().map_err(broken)?,
            false => entry.size(),
        };
        self.0.set(entry.raw_file_position().saturating_add(stored).saturating_add(HEADERS));
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests {
    use tar::{Archive, EntryType, Header};

    use super::*;

    fn header(kind: EntryType, size: u64) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    #[test]
    fn a_name_without_end_is_not_kept_but_a_file_without_end_is_passed_over() {
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
            let long = header(kind, 1 << 40);
            let (archive, bound) = bounded(long.chain(io::repeat(b'a')));
            let mut archive = Archive::new(archive);
            let mut entries = archive.entries().unwrap();
            assert!(matches!(bound.next(&mut entries), Err(ImageError::Limit(_))), "{kind:?}");
        }
        let size = 3 * HEADERS;
        let file = header(EntryType::Regular, size);
        let two = file.chain(io::repeat(b'a').take(size)).chain(&[0; 1024][..]);
        let (archive, bound) = bounded(two);
        let mut archive = Archive::new(archive);
        let mut entries = archive.entries().unwrap();
        assert_eq!(bound.next(&mut entries).unwrap().map(|entry| entry.size()), Some(size));
        assert!(bound.next(&mut entries).unwrap().is_none());
    }
}
