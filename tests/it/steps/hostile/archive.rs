//! Tar archives that break the rules of the format.

use tar::{EntryType, Header};

/// Tar's block.
const BLOCK: usize = 512;

/// An archive in parts: one entry each, its extensions included.
#[derive(Clone)]
pub struct Parts(Vec<(String, Vec<u8>)>);

impl Parts {
    /// An honest archive's parts.
    pub fn of(archive: &[u8]) -> Self {
        let mut reader = tar::Archive::new(archive);
        let mut parts = Vec::new();
        let mut start = 0;
        for entry in reader.entries().expect("a tar") {
            let entry = entry.expect("an entry");
            let end = (entry.raw_file_position() + entry.size()).next_multiple_of(BLOCK as u64) as usize;
            let name = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8");
            parts.push((name, archive[start..end].to_vec()));
            start = end;
        }
        Self(parts)
    }

    fn at(&self, name: &str) -> usize {
        self.0.iter().position(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name}: {:?}", self.names()))
    }

    /// Every entry's name.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// All blocks of an entry.
    pub fn blocks(&mut self, name: &str) -> &mut Vec<u8> {
        let at = self.at(name);
        &mut self.0[at].1
    }

    /// With blocks behind an entry.
    pub fn behind(&self, name: &str, blocks: Vec<u8>) -> Self {
        let mut parts = self.clone();
        parts.0.insert(self.at(name) + 1, ("new".into(), blocks));
        parts
    }

    /// With blocks in an entry's place.
    pub fn replaced(&self, name: &str, blocks: Vec<u8>) -> Self {
        let mut parts = self.clone();
        *parts.blocks(name) = blocks;
        parts
    }

    /// Without an entry and all below it.
    pub fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(other, _)| !other.starts_with(name)).cloned().collect())
    }

    /// The entries, without an end.
    pub fn endless(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(_, blocks)| blocks.iter().copied()).collect()
    }

    /// The whole archive.
    pub fn bytes(&self) -> Vec<u8> {
        [self.endless(), vec![0; 2 * BLOCK]].concat()
    }
}

/// A header with this size field, and a true checksum.
pub fn header(name: &[u8], kind: u8, mode: u32, size: &[u8; 12], target: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.as_old_mut().size = *size;
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A size in the usual notation.
pub fn octal(size: u64) -> [u8; 12] {
    format!("{size:011o}\0").into_bytes().try_into().expect("12 bytes")
}

/// An entry with content.
pub fn entry(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let mut blocks = header(name, kind, if kind == b'5' { 0o755 } else { 0o644 }, &octal(content.len() as u64), "");
    blocks.extend(content);
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    blocks
}

/// An empty file.
pub fn file(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'0', b"")
}

/// A symbolic (`2`) or hard (`1`) link.
pub fn link(name: &str, kind: u8, target: &str) -> Vec<u8> {
    header(name.as_bytes(), kind, 0o777, &octal(0), target)
}

/// PAX records for the entry behind them, or (`g`) for all.
pub fn pax_of(kind: u8, records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (name, value) in records {
        let rest = name.len() + value.len() + 3;
        let len = (rest..).find(|len| rest + len.to_string().len() == *len).expect("a length");
        content.extend(format!("{len} {name}=").into_bytes());
        content.extend(*value);
        content.push(b'\n');
    }
    entry(b"PaxHeaders/x", kind, &content)
}

/// PAX records for the entry behind them.
pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    pax_of(b'x', records)
}

/// An empty file whose name is in a PAX record.
pub fn named(path: &[u8]) -> Vec<u8> {
    [pax(&[("path", path)]), file("short")].concat()
}

/// An empty file whose name is in an entry of GNU's.
pub fn long_named(path: &str) -> Vec<u8> {
    [entry(b"././@LongLink", b'L', format!("{path}\0").as_bytes()), file("short")].concat()
}
