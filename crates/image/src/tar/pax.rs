//! Parses PAX records (POSIX.1-2008, pax, "Extended Header"): `length keyword=value\n`, by their length and not by their
//! newlines, because the value of an extended attribute may contain any byte.

use std::collections::{BTreeMap, HashSet};

use crate::ImageError;

/// Keyword prefix of extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";
const BROKEN: ImageError = ImageError::Malformed("a PAX record");

/// Supported records of one extended header.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Pax {
    /// Parses all records. A duplicate keyword, an empty value where one is needed, and records that change how content is read are
    /// rejected.
    pub(crate) fn read(mut records: &[u8]) -> Result<Self, ImageError> {
        let mut pax = Self::default();
        let mut seen = HashSet::new();
        while !records.is_empty() {
            let (keyword, value, rest) = record(records).ok_or(BROKEN)?;
            records = rest;
            if !seen.insert(keyword) {
                return Err(ImageError::Malformed("a PAX record twice"));
            }
            match keyword {
                b"path" => pax.path = Some(value.to_vec()),
                // Some readers take an empty value for an empty target, others for an absent record.
                b"linkpath" if value.is_empty() => return Err(BROKEN),
                b"linkpath" => pax.link = Some(value.to_vec()),
                b"size" => pax.size = Some(decimal(value).ok_or(BROKEN)?),
                b"uid" => pax.uid = Some(decimal(value).ok_or(BROKEN)?),
                b"gid" => pax.gid = Some(decimal(value).ok_or(BROKEN)?),
                // Bytes that are not UTF-8 stay unchanged.
                b"hdrcharset" if value == b"BINARY" => {}
                b"hdrcharset" => return Err(ImageError::Malformed("names in another encoding")),
                sparse if sparse.starts_with(b"GNU.") => return Err(ImageError::Malformed("a sparse file")),
                other => {
                    if let Some(name) = other.strip_prefix(XATTR) {
                        if value.is_empty() {
                            return Err(ImageError::Malformed("an extended attribute without a value: engines differ"));
                        }
                        pax.xattrs.insert(name.to_vec(), value.to_vec());
                    }
                }
            }
        }
        Ok(pax)
    }
}

/// The name of git's global header.
const GLOBAL: &[u8] = b"pax_global_header";

/// Checks a global header: some readers apply its records to all entries, others to none, and engines act on its name. So only
/// git's is accepted: with its name, and only a comment.
pub(crate) fn check_global(name: &[u8], mut records: &[u8]) -> Result<(), ImageError> {
    if name != GLOBAL {
        return Err(ImageError::Malformed("a global header"));
    }
    while !records.is_empty() {
        let (keyword, _, rest) = record(records).ok_or(BROKEN)?;
        if keyword != b"comment" {
            return Err(ImageError::Malformed("a global header"));
        }
        records = rest;
    }
    Ok(())
}

/// Returns the first record's keyword and value, and the remaining bytes.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&records[..space])?).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let content = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = content.iter().position(|byte| *byte == b'=')?;
    let (keyword, value) = (&content[..equals], &content[equals + 1..]);
    (!keyword.is_empty()).then_some((keyword, value, rest))
}

fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
