//! PAX headers: what one says of the entry after it.

use crate::image::ImageError;

/// What counts of a PAX header.
#[derive(Debug, Default)]
pub(super) struct Extension {
    pub path: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What names of extended attributes begin with.
const XATTR: &[u8] = b"SCHILY.xattr.";

const BROKEN: ImageError = ImageError::Malformed("a PAX header");

impl Extension {
    /// Reads a header's records, each `LENGTH NAME=VALUE\n`.
    pub fn parse(mut records: &[u8]) -> Result<Self, ImageError> {
        let mut all = Self::default();
        while !records.is_empty() {
            let space = records.iter().take(20).position(|byte| *byte == b' ').ok_or(BROKEN)?;
            let len = usize::try_from(decimal(&records[..space])?).map_err(|_| BROKEN)?;
            let record = records.get(space + 1..len).and_then(|record| record.strip_suffix(b"\n")).ok_or(BROKEN)?;
            records = &records[len..];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(BROKEN)?;
            all.take(&record[..equals], &record[equals + 1..])?;
        }
        Ok(all)
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), ImageError> {
        let number = |slot: &mut Option<u64>| set(slot, decimal(value)?);
        match name {
            b"path" if value.is_empty() => Err(BROKEN),
            b"path" => set(&mut self.path, value.to_vec()),
            b"linkpath" => set(&mut self.target, value.to_vec()),
            b"size" => number(&mut self.size),
            b"uid" => number(&mut self.uid),
            b"gid" => number(&mut self.gid),
            // Another way to say "sparse": names, sizes and content would be others.
            name if name.starts_with(b"GNU.sparse.") => Err(ImageError::Malformed("an entry of unknown type")),
            name => {
                if let Some(name) = name.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
                Ok(())
            }
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), ImageError> {
    if slot.replace(value).is_some() { Err(BROKEN) } else { Ok(()) }
}

fn decimal(digits: &[u8]) -> Result<u64, ImageError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BROKEN);
    }
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(BROKEN)
}
