//! Canonical form of a file tree, the input of the tree digest.

use std::collections::BTreeMap;

use stationmaster_train::digest::{FileHasher, Sha256Digest};

/// First bytes of the canonical form.
const MAGIC: &[u8] = b"stationmaster file tree v1\n";

/// Type of a node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// A regular file: the digest of its content and its length. A hard link is the file that it names.
    File(Sha256Digest, u64),
    /// A symbolic link: its target.
    Symlink(Vec<u8>),
    /// A character device: major and minor number.
    Character(u32, u32),
    /// A block device: major and minor number.
    Block(u32, u32),
    Fifo,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub xattrs: Attributes,
}

/// Extended attributes by name.
pub(crate) type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// A tree by path, relative to the root, without a trailing slash; the root itself is not in it.
pub(crate) type Tree = BTreeMap<Vec<u8>, Node>;

/// A tree's digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeDigest {
    /// Digest of the canonical form.
    pub digest: Sha256Digest,
    /// Number of entries.
    pub entries: u64,
    /// Bytes in regular files. A hard-linked file counts once per name.
    pub bytes: u64,
}

pub(crate) fn digest(tree: &Tree) -> TreeDigest {
    let mut out = FileHasher::new();
    let mut bytes = 0;
    out.update(MAGIC);
    for (path, node) in tree {
        let mut record = Vec::with_capacity(path.len() + 128);
        field(&mut record, path);
        field(&mut record, kind_name(&node.kind));
        field(&mut record, &node.mode.to_be_bytes());
        field(&mut record, &node.uid.to_be_bytes());
        field(&mut record, &node.gid.to_be_bytes());
        field(&mut record, if let Kind::Symlink(target) = &node.kind { target } else { b"" });
        field(&mut record, &device(&node.kind));
        field(&mut record, &(node.xattrs.len() as u32).to_be_bytes());
        for (name, value) in &node.xattrs {
            field(&mut record, name);
            field(&mut record, value);
        }
        match &node.kind {
            Kind::File(content, len) => {
                bytes += len;
                field(&mut record, content.as_bytes());
            }
            _ => field(&mut record, b""),
        }
        out.update(&record);
    }
    TreeDigest { digest: out.finish(), entries: tree.len() as u64, bytes }
}

/// Writes a field after its length, so that no two trees have the same form.
fn field(record: &mut Vec<u8>, bytes: &[u8]) {
    record.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    record.extend_from_slice(bytes);
}

fn kind_name(kind: &Kind) -> &'static [u8] {
    match kind {
        Kind::Directory => b"directory",
        Kind::File(..) => b"file",
        Kind::Symlink(_) => b"symlink",
        Kind::Character(..) => b"character",
        Kind::Block(..) => b"block",
        Kind::Fifo => b"fifo",
    }
}

fn device(kind: &Kind) -> Vec<u8> {
    match kind {
        Kind::Character(major, minor) | Kind::Block(major, minor) => [major.to_be_bytes(), minor.to_be_bytes()].concat(),
        _ => Vec::new(),
    }
}
