//! The one strict reader of `/opt`: the engine's archive of it, entry by entry, under our rules.
//!
//! The archive itself is read by [`super::entries`]. Inside `pht_train` and `pht_results` only directories and regular files with
//! plain names are let through, in the engine's own order (component-wise, strictly rising, below a directory that was there: that
//! also refuses duplicates, and files below files). Links, devices, whiteout names, absolute and climbing paths are refused. Other
//! entries of `/opt` are named to the caller and skipped.

use std::io::Read;

use tar::EntryType;

use super::{
    ImageError,
    entries::{Entries, Head},
    layer::Meta,
};
use crate::train::names::FilePath;

/// Where the config lies.
pub const CONFIG_PATH: &str = "/opt/train_config.json";
/// Longest config that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 8 * 1024 * 1024;
/// Most entries that are read from one `/opt`.
pub(super) const ENTRY_LIMIT: u64 = 250_000;
/// Permission bits that are taken over; set-id bits are not.
pub(super) const MODE_BITS: u32 = 0o1777;

/// The two directories of a train that hold its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// `/opt/pht_train`: the immutable files and the query.
    Train,
    /// `/opt/pht_results`: the results.
    Results,
}

impl Area {
    /// The directory's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "pht_train",
            Self::Results => "pht_results",
        }
    }

    /// The directory's path from the image's root.
    pub fn path(self) -> &'static str {
        match self {
            Self::Train => "opt/pht_train",
            Self::Results => "opt/pht_results",
        }
    }
}

/// Takes what the reader lets through, in the archive's order.
pub trait OptSink {
    /// The sink's error.
    type Error: From<ImageError>;

    /// A directory; `path` is `None` for the area's own directory.
    fn directory(&mut self, area: Area, path: Option<FilePath>, meta: Meta) -> Result<(), Self::Error>;
    /// A regular file of `size` bytes begins.
    fn begin(&mut self, area: Area, path: FilePath, meta: Meta, size: u64) -> Result<(), Self::Error>;
    /// A piece of the open file.
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// The open file ends.
    fn end(&mut self) -> Result<(), Self::Error>;
    /// Another entry of `/opt`, by its path below `/opt`; its content is skipped.
    fn other(&mut self, path: &str) -> Result<(), Self::Error>;
}

/// Reads the archive of `/opt`. Answers which of the two areas exist, as (train, results).
pub fn read_opt<S: OptSink + ?Sized>(archive: impl Read, sink: &mut S) -> Result<(bool, bool), S::Error> {
    let mut entries = Entries::new(archive);
    let mut seen = [false; 2];
    let mut orders = [Order::default(), Order::default()];
    let mut buffer = vec![0; 256 * 1024];
    let mut count = 0;
    while let Some(head) = entries.next()? {
        count += 1;
        if count > ENTRY_LIMIT {
            return Err(ImageError::Limit("entries of /opt").into());
        }
        let Head { path: name, kind, size, .. } = &head;
        let Some((area, below)) = place(name, *kind).map_err(S::Error::from)? else {
            let name = String::from_utf8_lossy(name);
            if let Some(other) = name.trim_end_matches('/').strip_prefix("opt/") {
                sink.other(other)?;
            }
            continue;
        };
        let meta = Meta { mode: head.mode & MODE_BITS, uid: head.uid, gid: head.gid, mtime: head.mtime };
        let Some(below) = below else {
            if std::mem::replace(&mut seen[area as usize], true) {
                return Err(policy("unique-ordered-names", name).into());
            }
            sink.directory(area, None, meta)?;
            continue;
        };
        let path = FilePath::from_bytes(below).map_err(|_| policy("plain-names", name))?;
        if !orders[area as usize].takes(&path, *kind == EntryType::Directory) {
            return Err(policy("unique-ordered-names", name).into());
        }
        match *kind {
            EntryType::Directory => sink.directory(area, Some(path), meta)?,
            // The match in `place` lets nothing else through.
            _ => {
                sink.begin(area, path, meta, *size)?;
                loop {
                    let n = entries.read_content(&mut buffer)?;
                    if n == 0 {
                        break;
                    }
                    sink.chunk(&buffer[..n])?;
                }
                sink.end()?;
            }
        }
    }
    Ok((seen[Area::Train as usize], seen[Area::Results as usize]))
}

/// The order in which an engine walks a directory.
#[derive(Default)]
struct Order {
    last: Option<FilePath>,
    /// The directories that the last entry is in, or is, outermost first.
    open: Vec<FilePath>,
}

impl Order {
    /// Whether an entry may come now: behind the last one, in a directory that was there.
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

type Placed<'a> = Option<(Area, Option<&'a [u8]>)>;

/// Which area an entry belongs to, and its path below it; `None` for the rest of `/opt`.
fn place(name: &[u8], kind: EntryType) -> Result<Placed<'_>, ImageError> {
    // A slash at its end is a directory's: behind a file's name it would be taken for one, or not.
    let trimmed = if kind == EntryType::Directory { name.strip_suffix(b"/").unwrap_or(name) } else { name };
    for area in [Area::Train, Area::Results] {
        let Some(rest) = trimmed.strip_prefix(area.path().as_bytes()) else { continue };
        let below = match rest {
            b"" => None,
            [b'/', below @ ..] => Some(below),
            _ => continue,
        };
        let regular = kind == EntryType::Regular && below.is_some();
        if !(regular || kind == EntryType::Directory) {
            return Err(policy("no-links-or-special-files", name));
        }
        return Ok(Some((area, below)));
    }
    if trimmed == b"opt" {
        return if kind == EntryType::Directory { Ok(None) } else { Err(policy("no-links-or-special-files", name)) };
    }
    if trimmed == b"opt/train_config.json" && kind != EntryType::Regular {
        return Err(policy("no-links-or-special-files", name));
    }
    if !trimmed.starts_with(b"opt/") {
        return Err(ImageError::Malformed("an entry outside /opt"));
    }
    if trimmed.split(|byte| *byte == b'/').any(|part| part.starts_with(b".wh.") || part == b"..") {
        return Err(policy("plain-names", name));
    }
    Ok(None)
}

/// Reads the archive of the config file alone.
pub fn read_config(archive: impl Read) -> Result<Vec<u8>, ImageError> {
    read_file(archive, b"train_config.json")
}

/// Reads the archive of one small file, at most [`CONFIG_LIMIT`] bytes of it.
pub fn read_file(archive: impl Read, name: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut entries = Entries::new(archive);
    let entry = entries.next()?.ok_or(ImageError::Malformed("an empty archive"))?;
    if entry.kind != EntryType::Regular || entry.path != name {
        return Err(policy("no-links-or-special-files", &entry.path));
    }
    if entry.size > CONFIG_LIMIT {
        return Err(ImageError::Limit("bytes of train_config.json"));
    }
    let mut content = vec![0; entry.size as usize];
    entries.read_exact(&mut content).map_err(broken)?;
    match entries.next()? {
        None => Ok(content),
        Some(_) => Err(ImageError::Malformed("more than one file")),
    }
}

pub(super) fn policy(rule: &'static str, name: &[u8]) -> ImageError {
    ImageError::Policy { rule, detail: String::from_utf8_lossy(name).into_owned() }
}

/// An error while reading: our own stream's errors come back as themselves, the tar reader's as a malformed archive.
pub(super) fn broken(error: std::io::Error) -> ImageError {
    match error.downcast::<ImageError>() {
        Ok(ours) => ours,
        Err(_) => ImageError::Malformed("it cannot be read as a tar archive"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Names(Vec<String>);

    impl OptSink for Names {
        type Error = ImageError;
        fn directory(&mut self, area: Area, path: Option<FilePath>, _: Meta) -> Result<(), ImageError> {
            self.0.push(format!("{area:?} dir {}", path.as_ref().map_or("", FilePath::as_str)));
            Ok(())
        }
        fn begin(&mut self, area: Area, path: FilePath, _: Meta, size: u64) -> Result<(), ImageError> {
            self.0.push(format!("{area:?} file {} {size}", path.as_str()));
            Ok(())
        }
        fn chunk(&mut self, _: &[u8]) -> Result<(), ImageError> {
            Ok(())
        }
        fn end(&mut self) -> Result<(), ImageError> {
            Ok(())
        }
        fn other(&mut self, path: &str) -> Result<(), ImageError> {
            self.0.push(format!("other {path}"));
            Ok(())
        }
    }

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, kind, content) in entries {
            out.extend(super::super::layer::header_blocks(path, *kind, Meta::immutable_file(1), content.len() as u64));
            out.extend(content.as_bytes());
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    fn read(entries: &[(&str, EntryType, &str)]) -> Result<Vec<String>, ImageError> {
        let mut names = Names::default();
        read_opt(&archive(entries)[..], &mut names).map(|_| names.0)
    }

    const DIR: EntryType = EntryType::Directory;
    const FILE: EntryType = EntryType::Regular;

    #[test]
    fn a_train_is_read_in_the_engines_order_and_the_rest_of_opt_is_named() {
        let names = read(&[
            ("opt/", DIR, ""),
            ("opt/pht_results/", DIR, ""),
            ("opt/pht_results/a/", DIR, ""),
            ("opt/pht_results/a/x", FILE, "1"),
            ("opt/pht_results/a!", FILE, "22"),
            ("opt/pht_train/", DIR, ""),
            ("opt/pht_train/run.sh", FILE, "333"),
            ("opt/pht_train_evil", FILE, ""),
            ("opt/tool", EntryType::Symlink, ""),
        ]);
        let expected = [
            "Results dir ",
            "Results dir a",
            "Results file a/x 1",
            "Results file a! 2",
            "Train dir ",
            "Train file run.sh 3",
            "other pht_train_evil",
            "other tool",
        ];
        assert_eq!(names.unwrap(), expected);
    }

    #[test]
    fn links_and_special_files_in_the_two_directories_are_refused() {
        for kind in
            [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::new(b'S')]
        {
            for path in ["opt/pht_results/x", "opt/pht_results", "opt", "opt/train_config.json"] {
                assert!(read(&[(path, kind, "")]).is_err(), "{kind:?} at {path} was let through");
            }
        }
    }

    #[test]
    fn names_that_climb_or_mean_something_to_layers_are_refused() {
        for name in ["../x", "a/../x", ".", "a//b", ".wh.x", "a/.wh..wh..opq", ".wh.", "a\nb", "a\u{1b}", "/x"] {
            assert!(read(&[(&format!("opt/pht_results/{name}"), FILE, "")]).is_err(), "{name:?} was let through");
        }
        assert!(read(&[("etc/passwd", FILE, "")]).is_err());
        assert!(read(&[("../opt/pht_train/x", FILE, "")]).is_err());
    }

    #[test]
    fn duplicates_and_another_order_are_refused() {
        assert!(read(&[("opt/pht_train/a", FILE, ""), ("opt/pht_train/a", FILE, "")]).is_err());
        assert!(read(&[("opt/pht_train/b", FILE, ""), ("opt/pht_train/a", FILE, "")]).is_err());
        assert!(read(&[("opt/pht_train/a", FILE, ""), ("opt/pht_train/a/", DIR, "")]).is_err());
    }

    #[test]
    fn a_truncated_archive_is_malformed() {
        let whole = archive(&[("opt/pht_train/a", FILE, "content")]);
        for cut in [100, 515] {
            assert!(matches!(read_opt(&whole[..cut], &mut Names::default()), Err(ImageError::Malformed(_))), "cut at {cut}");
        }
    }
}
