//! Writes the header blocks of tar entries.

use tar::{EntryType, Header};

use crate::tar::entry::{BLOCK, FileAttrs};

/// Maximum length of a name in the header's own field, in bytes.
const SHORT_NAME: usize = 100;

/// Returns the header of an entry, after GNU's long-name entry if the name needs one.
pub(crate) fn header_blocks(path: &str, kind: EntryType, meta: FileAttrs, size: u64) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(BLOCK as usize);
    if path.len() > SHORT_NAME {
        let mut long = Header::new_gnu();
        set_name(&mut long, b"././@LongLink");
        long.set_entry_type(EntryType::GNULongName);
        long.set_size(path.len() as u64 + 1);
        long.set_mode(0);
        long.set_cksum();
        blocks.extend_from_slice(long.as_bytes());
        blocks.extend_from_slice(path.as_bytes());
        blocks.resize(header_len(path.len()) as usize - BLOCK as usize, 0);
    }
    let mut header = Header::new_gnu();
    set_name(&mut header, &path.as_bytes()[..path.len().min(SHORT_NAME)]);
    header.set_entry_type(kind);
    header.set_mode(meta.mode);
    header.set_uid(meta.uid);
    header.set_gid(meta.gid);
    header.set_mtime(meta.mtime);
    header.set_size(size);
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
    blocks
}

fn set_name(header: &mut Header, name: &[u8]) {
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
}

pub(crate) fn header_len(name: usize) -> u64 {
    if name > SHORT_NAME { 2 * BLOCK + (name as u64 + 1).next_multiple_of(BLOCK) } else { BLOCK }
}

/// Returns the header of a link of either kind; its target has at most 100 bytes.
pub(crate) fn link_blocks(name: &str, kind: EntryType, meta: FileAttrs, target: &[u8]) -> Vec<u8> {
    let mut blocks = header_blocks(name, kind, meta, 0);
    let at = blocks.len() - BLOCK as usize;
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(&blocks[at..]);
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
    header.set_cksum();
    blocks[at..].copy_from_slice(header.as_bytes());
    blocks
}
