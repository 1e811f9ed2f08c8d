//! Strict reader of a train's `/opt`: checks the engine's archive of it, entry by entry.
//!
//! Inside `pht_train` and `pht_results` only directories and regular files with plain names are accepted, in the engine's own
//! order: component-wise, strictly rising, below a directory that occurred before. This order also excludes duplicates, and
//! files below files. Links, devices, whiteout names, absolute and climbing paths are rejected. Other entries of `/opt` are
//! reported to the caller and skipped.

use std::io::Read;

use stationmaster_train::{names::FilePath, rule::Rule};
use tar::EntryType;

use super::train_dirs::{CONFIG_LIMIT, TrainDir};
use crate::{
    ImageError,
    oci::whiteouts::WHITEOUT,
    tar::{
        end_check::EndCheckedReader,
        entry::FileAttrs,
        reader::{TarEntry, TarReader},
    },
};

/// Maximum number of entries that are read from one `/opt`.
pub(crate) const ENTRY_LIMIT: u64 = 250_000;
/// Permission bits that are kept; set-id bits are not.
pub(crate) const MODE_BITS: u32 = 0o1777;

/// Receives the entries that the reader accepts, in the archive's order. A method that is not implemented ignores them.
pub trait TrainTreeSink {
    /// The sink's error.
    type Error: From<ImageError>;

    /// A directory; `path` is `None` for the area's own directory.
    fn directory(&mut self, _area: TrainDir, _path: Option<FilePath>, _meta: FileAttrs) -> Result<(), Self::Error> {
        Ok(())
    }
    /// Begins a regular file of `size` bytes.
    fn begin(&mut self, _area: TrainDir, _path: FilePath, _meta: FileAttrs, _size: u64) -> Result<(), Self::Error> {
        Ok(())
    }
    /// A chunk of the open file.
    fn chunk(&mut self, _bytes: &[u8]) -> Result<(), Self::Error> {
        Ok(())
    }
    /// Ends the open file.
    fn end(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
    /// Another entry of `/opt`, by its path below `/opt`; its content is skipped.
    fn other(&mut self, _path: &str) -> Result<(), Self::Error> {
        Ok(())
    }
    /// As [`TrainTreeSink::other`], for a regular file of `size` bytes, whose content may be read.
    fn other_file(&mut self, path: &str, _size: u64, _content: &mut dyn Read) -> Result<(), Self::Error> {
        self.other(path)
    }
    /// An entry that breaks a rule. It is rejected, unless the sink only reports: then it is left out, except if only its order is
    /// wrong.
    fn breach(&mut self, rule: Rule, name: &[u8]) -> Result<(), Self::Error> {
        Err(ImageError::policy(rule, name).into())
    }
}

/// Reads the archive of `/opt`. Returns which of the two areas exist, as (train, results).
pub fn read_opt<S: TrainTreeSink + ?Sized>(archive: impl Read, sink: &mut S) -> Result<(bool, bool), S::Error> {
    let mut tape = EndCheckedReader::new(archive);
    let mut archive = TarReader::new(&mut tape);
    let mut reader = TrainTreeReader::new("opt/");
    while let Some(entry) = archive.next()? {
        let TarEntry { path, kind, size, meta, .. } = entry;
        reader.take(TrainTreeEntry { path: &path, kind, size, meta, content: &mut archive }, sink)?;
    }
    tape.check_end()?;
    Ok(reader.seen)
}

/// Reads the entries of `/opt`, one after the other.
pub(crate) struct TrainTreeReader {
    /// Prefix of every name: `opt/`, or nothing in an archive of its content.
    root: &'static str,
    seen: (bool, bool),
    orders: [OrderCheck; 2],
    entries: u64,
    buffer: Vec<u8>,
}

/// Checks the order in which an engine walks a directory.
#[derive(Default)]
struct OrderCheck {
    last: Option<FilePath>,
    /// The directories of the last entry, including the entry if it is one, outermost first.
    open: Vec<FilePath>,
}

impl OrderCheck {
    /// Whether an entry is allowed now: after the last one, in a directory that occurred before.
    fn takes(&mut self, path: &FilePath, is_directory: bool) -> bool {
        if self.last.as_ref().is_some_and(|last| last >= path) {
            return false;
        }
        let parent = path.parent();
        while self.open.last().is_some_and(|open| Some(open.as_str()) != parent) {
            self.open.pop();
        }
        if self.open.last().map(FilePath::as_str) != parent {
            return false;
        }
        if is_directory {
            self.open.push(path.clone());
        }
        self.last = Some(path.clone());
        true
    }
}

/// Classification of an entry.
enum Classified<'a> {
    /// In an area, at this path below it; `None` for the area's own directory.
    In(TrainDir, Option<&'a [u8]>),
    /// A link or special file where none is allowed.
    Link,
    /// A name that climbs or is special to layers.
    NotPlain,
    /// `/opt` itself.
    Root,
    /// Another entry of `/opt`, by its path below.
    Other(&'a [u8]),
}

/// An entry of an archive, whose content is still to be read.
pub(crate) struct TrainTreeEntry<'a> {
    /// Its name in the archive's spelling.
    pub path: &'a [u8],
    pub kind: EntryType,
    /// Bytes of content.
    pub size: u64,
    /// Owner, mode and time; the mode with all bits of the header.
    pub meta: FileAttrs,
    pub content: &'a mut dyn Read,
}

impl TrainTreeReader {
    pub(crate) fn new(root: &'static str) -> Self {
        Self {
            root,
            seen: (false, false),
            orders: [OrderCheck::default(), OrderCheck::default()],
            entries: 0,
            buffer: vec![0; 256 * 1024],
        }
    }

    /// Reads one entry.
    pub(crate) fn take<S: TrainTreeSink + ?Sized>(&mut self, entry: TrainTreeEntry<'_>, sink: &mut S) -> Result<(), S::Error> {
        self.entries += 1;
        if self.entries > ENTRY_LIMIT {
            return Err(ImageError::Limit("entries of /opt").into());
        }
        let TrainTreeEntry { path, kind, size, meta, content } = entry;
        // Some writers begin every name with the archive's own root.
        let name = without_root(path);
        if name.is_empty() && kind == EntryType::Directory {
            return Ok(());
        }
        let (area, below) = match self.place(name, kind)? {
            Classified::In(area, below) => (area, below),
            Classified::Root => return Ok(()),
            Classified::Link => return sink.breach(Rule::NoLinks, name),
            Classified::NotPlain => return sink.breach(Rule::PlainNames, name),
            Classified::Other(path) => {
                let path = String::from_utf8_lossy(path);
                return match kind {
                    EntryType::Regular => sink.other_file(&path, size, content),
                    _ => sink.other(&path),
                };
            }
        };
        let meta = FileAttrs { mode: meta.mode & MODE_BITS, ..meta };
        let Some(below) = below else {
            let seen = if area == TrainDir::Train { &mut self.seen.0 } else { &mut self.seen.1 };
            if std::mem::replace(seen, true) {
                return sink.breach(Rule::UniqueNames, name);
            }
            return sink.directory(area, None, meta);
        };
        let Ok(path) = FilePath::from_bytes(below) else { return sink.breach(Rule::PlainNames, name) };
        if !self.orders[area as usize].takes(&path, kind == EntryType::Directory) {
            sink.breach(Rule::UniqueNames, name)?;
        }
        if kind == EntryType::Directory {
            return sink.directory(area, Some(path), meta);
        }
        // `place` accepts no other type.
        sink.begin(area, path, meta, size)?;
        loop {
            let n = content.read(&mut self.buffer).map_err(ImageError::from_io)?;
            if n == 0 {
                break;
            }
            sink.chunk(&self.buffer[..n])?;
        }
        sink.end()
    }

    fn place<'a>(&self, name: &'a [u8], kind: EntryType) -> Result<Classified<'a>, ImageError> {
        // A trailing slash marks a directory: after a file's name, readers would interpret it in different ways.
        let trimmed = if kind == EntryType::Directory { name.strip_suffix(b"/").unwrap_or(name) } else { name };
        if trimmed == b"opt" && self.root == "opt/" {
            return Ok(if kind == EntryType::Directory { Classified::Root } else { Classified::Link });
        }
        let below_opt = trimmed.strip_prefix(self.root.as_bytes()).ok_or(ImageError::Malformed("an entry outside /opt"))?;
        for area in [TrainDir::Train, TrainDir::Results] {
            let Some(rest) = below_opt.strip_prefix(area.name().as_bytes()) else { continue };
            let below = match rest {
                b"" => None,
                [b'/', below @ ..] => Some(below),
                _ => continue,
            };
            let regular = kind == EntryType::Regular && below.is_some();
            return Ok(if regular || kind == EntryType::Directory { Classified::In(area, below) } else { Classified::Link });
        }
        if below_opt == b"train_config.json" && kind != EntryType::Regular {
            return Ok(Classified::Link);
        }
        if below_opt.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT.as_bytes()) || part == b"..") {
            return Ok(Classified::NotPlain);
        }
        Ok(Classified::Other(below_opt))
    }
}

/// Returns a name without leading `./`; empty for the root itself.
pub(crate) fn without_root(mut name: &[u8]) -> &[u8] {
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    if name == b"." { b"" } else { name }
}

/// Reads the archive of the config file alone.
pub fn read_config(archive: impl Read) -> Result<Vec<u8>, ImageError> {
    read_file(archive, b"train_config.json")
}

/// Reads the archive of one small file, with a limit of [`CONFIG_LIMIT`] bytes.
pub fn read_file(archive: impl Read, name: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut archive = TarReader::new(archive);
    let entry = archive.next()?.ok_or(ImageError::Malformed("an empty archive"))?;
    if entry.kind != EntryType::Regular || entry.path != name {
        return Err(ImageError::policy(Rule::NoLinks, &entry.path));
    }
    if entry.size > CONFIG_LIMIT {
        return Err(ImageError::Limit("bytes of train_config.json"));
    }
    // Allocated once and within the limit: a growing vector holds its content twice.
    let mut content = Vec::with_capacity(entry.size as usize);
    archive.by_ref().take(CONFIG_LIMIT).read_to_end(&mut content).map_err(ImageError::from_io)?;
    match archive.next()? {
        None => Ok(content),
        Some(_) => Err(ImageError::Malformed("more than one file")),
    }
}

#[cfg(test)]
mod tests;
