//! File names inside `pht_train` and `pht_results`, and the order in which immutable files are hashed
//! (`docs/wire-format.md §4`, `§5`).

use std::{cmp::Ordering, collections::HashSet, fmt};

/// Path of the query below `pht_train`. Only this exact path is special.
const QUERY: &str = "query.json";
/// Prefix of whiteouts in image layers: "this file is deleted".
const WHITEOUT: &str = ".wh.";
const MAX_COMPONENT_BYTES: usize = 255;
const MAX_PATH_BYTES: usize = 4096;
/// Maximum number of components: deeper than any usual tree, and safe for code that walks it by recursion.
const MAX_COMPONENTS: usize = 128;

/// A relative path that stays below its directory: UTF-8, no empty, `.` or `..` component, no control characters, no character
/// that changes the direction of the text around it, no layer whiteout, at most 128 components of at most 255 bytes each and
/// 4096 bytes in total.
///
/// Names that differ only in case or in Unicode's normal form are different names, as on the engine's file systems.
///
/// The order is that in which the engine walks a directory tree: component by component in byte order, so `a/x` comes before
/// `a!` and `a.txt`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePath(String);

/// Error: the name is not a [`FilePath`]. The train's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// An empty, `.` or `..` component (an absolute path and a trailing slash have an empty one), or a backslash, which separates
    /// components where results may be unpacked later.
    #[error("not a plain relative path")]
    NotRelative,
    /// A NUL or another control character, a line or paragraph separator, or a character that displays a name other than the
    /// actual one (bidirectional embedding, override or isolate).
    #[error("holds a control character")]
    ControlCharacter,
    /// A component starts with `.wh.`.
    #[error("means something to image layers")]
    Whiteout,
    /// A component over 255 bytes, a path over 4096 bytes, or more than 128 components.
    #[error("too long")]
    TooLong,
    /// `query.json` in a file list: it is hashed after the session id, never as a listed file.
    #[error("is the query, which is never listed")]
    Query,
}

impl FilePath {
    /// Checks a path.
    pub fn new(path: &str) -> Result<Self, NameError> {
        if path.len() > MAX_PATH_BYTES {
            return Err(NameError::TooLong);
        }
        if path.chars().any(misleads) {
            return Err(NameError::ControlCharacter);
        }
        if path.split('/').nth(MAX_COMPONENTS).is_some() {
            return Err(NameError::TooLong);
        }
        for component in path.split('/') {
            match component {
                "" | "." | ".." => return Err(NameError::NotRelative),
                split if split.contains('\\') => return Err(NameError::NotRelative),
                long if long.len() > MAX_COMPONENT_BYTES => return Err(NameError::TooLong),
                mark if mark.starts_with(WHITEOUT) => return Err(NameError::Whiteout),
                _ => {}
            }
        }
        Ok(Self(path.to_owned()))
    }

    /// Checks a path in an archive's spelling.
    pub fn from_bytes(path: &[u8]) -> Result<Self, NameError> {
        Self::new(std::str::from_utf8(path).map_err(|_| NameError::NotUtf8)?)
    }

    /// Checks a name in `file_list`'s spelling: exactly one leading `./` is removed.
    pub fn listed(name: &str) -> Result<Self, NameError> {
        Self::new(name.strip_prefix("./").unwrap_or(name))
    }

    /// Returns `query.json`, the query's path below `pht_train`.
    pub fn query() -> Self {
        Self(QUERY.to_owned())
    }

    /// Whether this is the query (below `pht_train`; a result may have this name).
    pub fn is_query(&self) -> bool {
        self.0 == QUERY
    }

    /// Returns the path, with `/` between components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the parent directory, or `None` for a path of one component.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Returns the components, outermost first; at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

/// Whether a character makes a name look like another name or like two lines.
fn misleads(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Ord for FilePath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.components().map(str::as_bytes).cmp(other.components().map(str::as_bytes))
    }
}

impl PartialOrd for FilePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The immutable files to hash, in order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    ordered: Vec<FilePath>,
    known: HashSet<FilePath>,
}

/// Error: an entry of `file_list` cannot be a file of a train. The train's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("file_list[{position}] {cause}")]
pub struct ListingError {
    /// Place in `file_list`, from 0.
    pub position: usize,
    /// What is wrong with it.
    pub cause: NameError,
}

impl Listing {
    /// Reads a config's `file_list`. A repeated name is ignored; the query is rejected.
    pub fn new(file_list: &[String]) -> Result<Self, ListingError> {
        let mut listing = Self { ordered: Vec::with_capacity(file_list.len()), known: HashSet::with_capacity(file_list.len()) };
        for (position, name) in file_list.iter().enumerate() {
            let path = FilePath::listed(name).map_err(|cause| ListingError { position, cause })?;
            if path.is_query() {
                return Err(ListingError { position, cause: NameError::Query });
            }
            if listing.known.insert(path.clone()) {
                listing.ordered.push(path);
            }
        }
        Ok(listing)
    }

    /// Returns the files in the order in which they are hashed.
    pub fn names(&self) -> &[FilePath] {
        &self.ordered
    }

    /// Whether a file is listed.
    pub fn contains(&self, path: &FilePath) -> bool {
        self.known.contains(path)
    }
}

#[cfg(test)]
mod tests;
