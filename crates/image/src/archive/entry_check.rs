//! Rejects entries of layers that have effects beyond their own path, or that engines treat in different ways.

use tar::EntryType;

use crate::{
    ImageError,
    oci::whiteouts::{OPAQUE, WHITEOUT},
    tar::reader::TarEntry,
};

/// Prefixes of attributes in which overlay file systems store metadata (Linux, filesystems/overlayfs; fuse-overlayfs):
/// these attributes hide and move lower content.
const OVERLAY: [&[u8]; 7] = [
    b"trusted.overlay.",
    b"user.overlay.",
    b"trusted.fuseoverlayfs.",
    b"user.fuseoverlayfs.",
    b"security.fuseoverlayfs.",
    b"user.containers.override_stat",
    b"trusted.containers.override_stat",
];

/// The attribute that a directory passes on to new entries in it.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// Maximum major and minor number of a device: engines and the system truncate larger ones in different ways.
const DEVICE: (u32, u32) = (0xfff, 0xf_ffff);

/// Checks an entry of a layer for effects beyond its own path.
pub(crate) fn check_entry(entry: &TarEntry) -> Result<(), ImageError> {
    let mut names = entry.path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").peekable();
    while let Some(name) = names.next() {
        let Some(removed) = name.strip_prefix(WHITEOUT.as_bytes()) else { continue };
        let is_last = names.peek().is_none();
        if !is_last
            || name != OPAQUE.as_bytes() && (removed.starts_with(WHITEOUT.as_bytes()) || matches!(removed, b"" | b"." | b".."))
        {
            return Err(ImageError::Malformed("a name that is a storage driver's own, or marks nothing that could be removed"));
        }
    }
    let is_device = matches!(entry.kind, EntryType::Char | EntryType::Block);
    if entry.kind == EntryType::Char && entry.device == (0, 0) {
        return Err(ImageError::Malformed("a device 0:0, which removes a file for some engines"));
    }
    if is_device && (entry.device.0 > DEVICE.0 || entry.device.1 > DEVICE.1) {
        return Err(ImageError::Malformed("a device whose numbers are too large"));
    }
    let is_root = entry.kind == EntryType::Directory && entry.path.iter().all(|byte| matches!(byte, b'/' | b'.'));
    if is_root && !entry.xattrs.is_empty() {
        return Err(ImageError::Malformed("an attribute of the root: engines differ"));
    }
    if entry.xattrs.contains_key(DEFAULT_ACL) {
        return Err(ImageError::Malformed("an access list that is passed on to what a directory gets"));
    }
    if entry.xattrs.keys().any(|name| OVERLAY.iter().any(|own| name.starts_with(own))) {
        return Err(ImageError::Malformed("an attribute of the overlay file system's own"));
    }
    Ok(())
}
