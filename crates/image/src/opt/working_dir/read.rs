//! Reads the files that a run left in its directory, under the rules of the strict reader.
//!
//! A container may still be running and change names during the read: every step starts from an open directory, never
//! follows a link, and a file must have the same length at its end as at its beginning.

use std::{
    fs::File,
    io::Read,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};
use stationmaster_train::{names::FilePath, rule::Rule};

use super::{WorkingDir, failed};
use crate::{
    ImageError,
    opt::{
        reader::{ENTRY_LIMIT, MODE_BITS, TrainTreeSink},
        train_dirs::TrainDir,
    },
    tar::entry::FileAttrs,
};

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

impl WorkingDir {
    /// Passes everything in the two areas to the sink, in the order of an engine's archive. Returns which areas exist, as
    /// (train, results).
    pub fn read<S: TrainTreeSink + ?Sized>(&self, sink: &mut S) -> Result<(bool, bool), S::Error> {
        let mut walk = Walk { sink, buffer: vec![0; BUFFER], entries: 0 };
        let results = walk.area(self, TrainDir::Results)?;
        let train = walk.area(self, TrainDir::Train)?;
        Ok((train, results))
    }
}

struct Walk<'a, S: ?Sized> {
    sink: &'a mut S,
    buffer: Vec<u8>,
    entries: u64,
}

impl<S: TrainTreeSink + ?Sized> Walk<'_, S> {
    fn area(&mut self, root: &WorkingDir, area: TrainDir) -> Result<bool, S::Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(root.area(area), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(ImageError::policy(Rule::NoLinks, area.name()).into()),
            other => other.map_err(failed)?,
        };
        let stat = rustix::fs::fstat(&directory).map_err(failed)?;
        self.sink.directory(area, None, meta_of(&stat))?;
        self.below(&directory, area, &mut Vec::new())?;
        Ok(true)
    }

    /// Reads a directory; `path` is its path below the area, with a slash at its end unless it is empty. A name that is too deep is
    /// rejected, so the recursion ends.
    fn below(&mut self, directory: &OwnedFd, area: TrainDir, path: &mut Vec<u8>) -> Result<(), S::Error> {
        let above = path.len();
        for name in self.names(directory)? {
            path.truncate(above);
            path.extend_from_slice(&name);
            let file = FilePath::from_bytes(path).map_err(|_| ImageError::policy(Rule::PlainNames, path.as_slice()))?;
            let stat = match rustix::fs::statat(directory, name.as_slice(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Err(moved(path).into()),
                other => other.map_err(failed)?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let inner = self.open(directory, &name, OFlags::DIRECTORY, path)?;
                    self.sink.directory(area, Some(file), meta_of(&stat))?;
                    path.push(b'/');
                    self.below(&inner, area, path)?;
                }
                FileType::RegularFile => {
                    // Non-blocking: a pipe in the file's place must not block this thread.
                    let inner = self.open(directory, &name, OFlags::NONBLOCK, path)?;
                    self.file(inner, area, file, path)?;
                }
                _ => return Err(ImageError::policy(Rule::NoLinks, path).into()),
            }
        }
        path.truncate(above);
        Ok(())
    }

    /// Returns the names in a directory, in byte order.
    fn names(&mut self, directory: &OwnedFd) -> Result<Vec<Vec<u8>>, S::Error> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(directory.as_fd()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes()).as_bytes();
            if name != b"." && name != b".." {
                self.entries += 1;
                if self.entries > ENTRY_LIMIT {
                    return Err(ImageError::Limit("entries of /opt").into());
                }
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, directory: &OwnedFd, name: &[u8], kind: OFlags, path: &[u8]) -> Result<OwnedFd, ImageError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
        match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            // It was another kind of file before.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => Err(moved(path)),
            other => other.map_err(failed),
        }
    }

    fn file(&mut self, file: OwnedFd, area: TrainDir, name: FilePath, path: &[u8]) -> Result<(), S::Error> {
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        // A second name of the same file would be a link in an archive.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(ImageError::policy(Rule::NoLinks, path).into());
        }
        let size = stat.st_size.cast_unsigned();
        self.sink.begin(area, name, meta_of(&stat), size)?;
        let (mut file, mut read) = (File::from(file), 0);
        loop {
            let n = file.read(&mut self.buffer).map_err(failed)?;
            read += n as u64;
            if read > size || (n == 0 && read < size) {
                return Err(moved(path).into());
            }
            if n == 0 {
                break;
            }
            self.sink.chunk(&self.buffer[..n])?;
        }
        self.sink.end()
    }
}

fn moved(path: &[u8]) -> ImageError {
    ImageError::policy(Rule::AtRestWhileRead, path)
}

fn meta_of(stat: &Stat) -> FileAttrs {
    FileAttrs {
        mode: stat.st_mode & MODE_BITS,
        uid: stat.st_uid.into(),
        gid: stat.st_gid.into(),
        mtime: u64::try_from(stat.st_mtime).unwrap_or(0),
    }
}
