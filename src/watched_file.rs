//! A file that an administrator edits and a running service follows: read again when it changes, always replaced as a whole.

use std::{
    fs, io,
    marker::PhantomData,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use stationmaster_system::files::{
    Directory, FileThread, NotResponding, explained, guarded,
    guarded::{GuardError, Reader, Secrecy},
    lock,
};

/// Maximum size of the file, in bytes.
const LIMIT: u64 = 16 * 1024 * 1024;
/// Within this time after its last change a file may change again without a difference in its timestamps.
const GRAIN: Duration = Duration::from_secs(2);

/// Why a file cannot be read or written. The operator must correct it. Names paths: for the log and the command line, not for callers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file does not exist.
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Users other than root and the service could have changed the file: see [`guarded`]. Contains path and remedy.
    #[error("{0}")]
    Unprotected(String),
    /// The path is not a regular file. Contains what was found there.
    #[error("{0}")]
    NotAFile(String),
    /// The file cannot be written.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl FileError {
    /// Returns the system's kind of error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Missing(_) => io::ErrorKind::NotFound,
            Self::Unprotected(_) => io::ErrorKind::PermissionDenied,
            Self::NotAFile(_) => io::ErrorKind::IsADirectory,
            Self::Read { source, .. } | Self::Write { source, .. } => source.kind(),
        }
    }
}

/// Reads a file's bytes, if it meets the rule for such files ([`guarded`]).
///
/// # Errors
/// When it does not exist, breaks the rule, or cannot be read.
pub fn read(file: &Path, by: Reader) -> Result<Vec<u8>, FileError> {
    guarded::read(file, by, Secrecy::Plain, LIMIT).map_err(|refused| match refused {
        GuardError::Missing => FileError::Missing(file.to_owned()),
        GuardError::Rule(why) => FileError::Unprotected(why),
        GuardError::NotAFile(why) => FileError::NotAFile(why),
        GuardError::Io(source) => FileError::Read { file: file.to_owned(), source },
    })
}

/// Changes a file: passes its contents (`None` when it does not exist) to `change`, and writes the result, unless that is `None`.
/// Concurrent updates wait for each other. The new contents are on the disk when this returns.
///
/// # Errors
/// `change`'s own, or when the file cannot be read or written.
pub fn update<T, E: From<FileError>>(
    file: &Path,
    change: impl FnOnce(Option<Vec<u8>>, &Path) -> Result<(T, Option<String>), E>,
) -> Result<T, E> {
    // Behind a link, its target is replaced and not the link.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    // The directory must be writable: the file is written aside and renamed.
    let parent = file.parent().unwrap_or(&file).to_owned();
    let trouble = |source| FileError::Write { file: file.clone(), source: explained(&parent, source) };
    let (directory, name) = Directory::of_file(&file).map_err(trouble)?;
    lock(&directory).map_err(trouble)?;
    let before = match read(&file, Reader::Command) {
        Ok(bytes) => Some(bytes),
        Err(FileError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let (outcome, text) = change(before, &file)?;
    if let Some(text) = text {
        // Written contents must be readable: a service adds keys that it saw first, and trains determine how many there are.
        if text.len() as u64 > LIMIT {
            return Err(trouble(io::Error::other("it would exceed the maximum size, 16 MiB")).into());
        }
        // Keeps its mode, except for bits that the service would refuse.
        let mode = directory.stat_of(&name).map_err(trouble)?.map_or(0o644, |facts| facts.st_mode & 0o755);
        directory.replace(&name, mode, text.as_bytes()).map_err(trouble)?;
    }
    Ok(outcome)
}

/// Changes a file's parsed contents: parses it (nothing when it does not exist), and writes what `change` makes of it, unless that
/// fails or changes nothing; see [`update`].
///
/// # Errors
/// `change`'s own, `parse`'s, or when the file cannot be read or written.
pub fn update_parsed<S, T, P, E>(
    file: &Path,
    parse: impl FnOnce(&[u8], &Path) -> Result<S, P>,
    text: impl FnOnce(&S) -> String,
    change: impl FnOnce(&mut S) -> Result<T, E>,
) -> Result<T, E>
where
    S: Clone + Default + PartialEq,
    P: From<FileError>,
    E: From<P>,
{
    /// `change`'s error, into which `parse`'s error converts.
    struct UpdateError<P, E>(E, PhantomData<P>);
    impl<P: From<FileError>, E: From<P>> From<FileError> for UpdateError<P, E> {
        fn from(error: FileError) -> Self {
            refused(P::from(error).into())
        }
    }
    fn refused<P, E>(error: E) -> UpdateError<P, E> {
        UpdateError(error, PhantomData)
    }
    update(file, |bytes, file| {
        let before =
            bytes.as_deref().map(|bytes| parse(bytes, file)).transpose().map_err(|error: P| refused::<P, E>(error.into()))?;
        let mut now = before.clone().unwrap_or_default();
        let outcome = change(&mut now).map_err(refused)?;
        let changed = before.is_none_or(|before| before != now);
        Ok((outcome, changed.then(|| text(&now))))
    })
    .map_err(|UpdateError(error, _)| error)
}

/// Returns whether a file contains only blank lines and comments.
pub fn is_blank(bytes: &[u8]) -> bool {
    let is_blank = |line: &[u8]| line.trim_ascii_start().first().is_none_or(|first| *first == b'#');
    bytes.split(|byte| *byte == b'\n').all(is_blank)
}

/// Parses a text as strict TOML.
///
/// # Errors
/// The line, from 1, and what is wrong there.
pub fn toml<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, (usize, String)> {
    let text = std::str::from_utf8(bytes).map_err(|_| (1, "not UTF-8".to_owned()))?;
    toml::from_str(text).map_err(|error| {
        let before = error.span().map_or(0, |span| span.start);
        let lines = text.as_bytes().iter().take(before).filter(|&&byte| byte == b'\n').count();
        (lines + 1, error.message().to_owned())
    })
}

/// A file that a service follows. A thread of its own reads it: no call, health check or signal waits for a file system.
#[derive(Debug)]
pub struct Followed<T, E> {
    path: PathBuf,
    aside: FileThread,
    /// Locked by that thread alone.
    watched: Arc<Mutex<WatchedFile<T>>>,
    parse: fn(&[u8], &Path) -> Result<T, E>,
    broken: fn(&E),
}

impl<T: Send + Sync + 'static, E: From<FileError> + std::fmt::Display + Send + 'static> Followed<T, E> {
    /// Follows a file; reads nothing yet. `parse` parses its text; `broken` is called with the cause, once, when the file becomes unusable
    /// and the previous contents stay in force.
    #[must_use]
    pub fn new(path: &Path, parse: fn(&[u8], &Path) -> Result<T, E>, broken: fn(&E)) -> Self {
        let watched = Arc::new(Mutex::new(WatchedFile::new(path)));
        Self { path: path.to_owned(), aside: FileThread::new("kept-file"), watched, parse, broken }
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the present contents. When the file has become unusable, returns the contents read before. When it was removed, breaks the
    /// rule, cannot be read or is on a file system that does not respond, earlier contents are not used.
    ///
    /// # Errors
    /// When the file cannot be read, or is unusable and never was usable.
    pub async fn look(&self) -> Result<Snapshot<T>, E> {
        self.answered(self.aside.run(self.job()).await)
    }

    /// As [`Followed::look`], from a thread that may block.
    ///
    /// # Errors
    /// As [`Followed::look`].
    pub fn look_blocking(&self) -> Result<Snapshot<T>, E> {
        self.answered(self.aside.run_blocking(self.job()))
    }

    /// Notes that the contents with this digest are known.
    pub fn acknowledge(&self, digest: [u8; 32]) {
        let watched = Arc::clone(&self.watched);
        self.aside.queue(move || watched.lock().unwrap_or_else(PoisonError::into_inner).acknowledge(digest));
    }

    fn job(&self) -> impl FnOnce() -> Result<Snapshot<T>, E> + Send + 'static {
        let (watched, parse, broken) = (Arc::clone(&self.watched), self.parse, self.broken);
        move || watched.lock().unwrap_or_else(PoisonError::into_inner).look(parse, broken)
    }

    fn answered(&self, answer: Result<Result<Snapshot<T>, E>, NotResponding>) -> Result<Snapshot<T>, E> {
        answer.unwrap_or_else(|stuck| Err(FileError::Read { file: self.path.clone(), source: stuck.into() }.into()))
    }
}

/// A file with the contents last read from it.
#[derive(Debug)]
struct WatchedFile<T> {
    path: PathBuf,
    seen: Option<Version>,
    bytes: Vec<u8>,
    value: Option<Arc<T>>,
    /// Digest of contents that have not been acknowledged yet.
    new: Option<[u8; 32]>,
    /// See [`Snapshot::flaw`].
    flaw: Option<Arc<str>>,
}

/// Identifies a state of the file, and when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    length: u64,
    changed: (i64, i64),
    mode: u32,
}

/// Result of reading a followed file.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// The parsed contents.
    pub value: Arc<T>,
    /// SHA-256 of its bytes, until they have been acknowledged.
    pub new: Option<[u8; 32]>,
    /// Why the present file is unusable, while its previous contents stay in force: for the health check, because a change that an
    /// administrator believes to be in force is not.
    pub flaw: Option<Arc<str>>,
}

impl<T> WatchedFile<T> {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None, bytes: Vec::new(), value: None, new: None, flaw: None }
    }

    /// See [`Followed::look`].
    fn look<E: From<FileError> + std::fmt::Display>(
        &mut self,
        parse: impl FnOnce(&[u8], &Path) -> Result<T, E>,
        broken: impl FnOnce(&E),
    ) -> Result<Snapshot<T>, E> {
        let now = self.stat();
        if let (Some(value), Some(seen)) = (&self.value, self.seen)
            && now == Some(seen)
        {
            return Ok(Snapshot { value: Arc::clone(value), new: self.new, flaw: self.flaw.clone() });
        }
        let bytes = match read(&self.path, Reader::Service) {
            Ok(bytes) => bytes,
            Err(error) => {
                (self.value, self.bytes, self.seen, self.flaw) = (None, Vec::new(), None, None);
                return Err(error.into());
            }
        };
        // A recent change may be followed by another with the same timestamps: the file is read again until it has settled.
        self.seen = now.filter(Version::has_settled);
        if let Some(value) = &self.value
            && bytes == self.bytes
        {
            return Ok(Snapshot { value: Arc::clone(value), new: self.new, flaw: self.flaw.clone() });
        }
        let (value, new, flaw) = match (parse(&bytes, &self.path), &self.value) {
            (Ok(value), _) => (Arc::new(value), Some(openssl::sha::sha256(&bytes)), None),
            (Err(error), Some(before)) => {
                broken(&error);
                (Arc::clone(before), self.new, Some(format!("{error}; its previous contents stay in force").into()))
            }
            (Err(error), None) => return Err(error),
        };
        (self.value, self.bytes, self.new, self.flaw) = (Some(Arc::clone(&value)), bytes, new, flaw);
        Ok(Snapshot { value, new, flaw: self.flaw.clone() })
    }

    fn acknowledge(&mut self, digest: [u8; 32]) {
        self.new = self.new.filter(|new| *new != digest);
    }

    fn stat(&self) -> Option<Version> {
        let facts = fs::metadata(&self.path).ok()?;
        // The change time, not the modification time: users cannot set it back.
        let changed = (facts.ctime(), facts.ctime_nsec());
        Some(Version { inode: facts.ino(), length: facts.len(), changed, mode: facts.mode() })
    }
}

impl Version {
    fn has_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now > Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(0)) + GRAIN
    }
}

#[cfg(test)]
mod tests {
    use crate::watched_file::*;

    #[test]
    fn what_would_be_too_long_to_be_read_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("first-seen.toml");
        let write = |length: u64| {
            let text = "#".repeat(usize::try_from(length).unwrap());
            update(&file, |_, _| Ok::<_, FileError>(((), Some(text))))
        };
        write(LIMIT).unwrap();
        assert!(matches!(write(LIMIT + 1), Err(FileError::Write { .. })));
        assert_eq!(fs::metadata(&file).unwrap().len(), LIMIT, "what was there is there, and can be read");
    }
}
