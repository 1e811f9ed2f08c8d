//! A file that an officer keeps and a running service follows: read when it changes, replaced whole, never half.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    marker::PhantomData,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustix::fs::{FlockOperation, flock};

/// The largest file that is read, in bytes.
const LIMIT: u64 = 16 * 1024 * 1024;
/// Within this of its last change a file may change again without showing it in its times.
const GRAIN: Duration = Duration::from_secs(2);

/// Why a kept file cannot be had. The operator's to mend. Names paths: for the log and the command line, not for callers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is no file.
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody on this machine may write the file.
    #[error("{} may be written by everybody: chmod o-w", .0.display())]
    WritableByAll(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {}: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads a file's bytes, where it is one that only its owner and group may change.
///
/// # Errors
/// When there is none, everybody may write it, or it cannot be read.
pub fn read(file: &Path) -> Result<Vec<u8>, FileError> {
    let trouble = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing(file.to_owned()),
        _ => FileError::Read { file: file.to_owned(), source },
    };
    let open = File::open(file).map_err(trouble)?;
    let facts = open.metadata().map_err(trouble)?;
    if facts.is_file() && facts.permissions().mode() & 0o002 != 0 {
        return Err(FileError::WritableByAll(file.to_owned()));
    }
    let mut bytes = Vec::new();
    open.take(LIMIT + 1).read_to_end(&mut bytes).map_err(trouble)?;
    if bytes.len() as u64 > LIMIT {
        return Err(trouble(io::Error::other("it is too large")));
    }
    Ok(bytes)
}

/// Changes a file: hands over what it holds (`None` when there is none), and writes what comes back, unless that is nothing.
/// Others who change it so at the same time wait. What is written is on the disk when this answers.
///
/// # Errors
/// `change`'s own, or when the file cannot be read or written.
pub fn update<T, E: From<FileError>>(
    file: &Path,
    change: impl FnOnce(Option<Vec<u8>>, &Path) -> Result<(T, Option<String>), E>,
) -> Result<T, E> {
    // Through a link, the file that it leads to is replaced and not the link.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let trouble = |source| FileError::Write { file: file.clone(), source };
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(parent).map_err(trouble)?;
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| trouble(error.into()))?;
    let before = match read(&file) {
        Ok(bytes) => Some(bytes),
        Err(FileError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let (outcome, text) = change(before, &file)?;
    if let Some(text) = text {
        replace(&file, &directory, &text).map_err(trouble)?;
    }
    Ok(outcome)
}

/// Changes what a file holds: reads it (nothing when there is none), and writes what `change` makes of it, unless that refuses or
/// changes nothing; see [`update`].
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
    /// `change`'s error, which knows the file's by way of `parse`'s.
    struct Refused<P, E>(E, PhantomData<P>);
    impl<P: From<FileError>, E: From<P>> From<FileError> for Refused<P, E> {
        fn from(error: FileError) -> Self {
            refused(P::from(error).into())
        }
    }
    fn refused<P, E>(error: E) -> Refused<P, E> {
        Refused(error, PhantomData)
    }
    update(file, |bytes, file| {
        let before =
            bytes.as_deref().map(|bytes| parse(bytes, file)).transpose().map_err(|error: P| refused::<P, E>(error.into()))?;
        let mut now = before.clone().unwrap_or_default();
        let outcome = change(&mut now).map_err(refused)?;
        let changed = before.is_none_or(|before| before != now);
        Ok((outcome, changed.then(|| text(&now))))
    })
    .map_err(|Refused(error, _)| error)
}

/// Reads a text as strict TOML.
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

/// Written aside, synced and renamed, with mode and owner of the file before.
fn replace(file: &Path, directory: &File, text: &str) -> io::Result<()> {
    let before = fs::metadata(file).ok();
    let mode = before.as_ref().map_or(0o644, |facts| facts.permissions().mode() & 0o777);
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let aside = PathBuf::from(name);
    let _ = fs::remove_file(&aside);
    let mut new = OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
    new.set_permissions(fs::Permissions::from_mode(mode))?;
    if let Some(facts) = before {
        // Root may keep the owner; whoever may not is the owner, or could not have replaced the file.
        let _ = fchown(&new, Some(facts.uid()), Some(facts.gid()));
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&aside, file)?;
    directory.sync_all()
}

/// A file with what was last read from it.
#[derive(Debug)]
pub struct Watched<T> {
    path: PathBuf,
    seen: Option<Seen>,
    bytes: Vec<u8>,
    value: Option<Arc<T>>,
    /// Digest of what nobody has acknowledged yet.
    new: Option<[u8; 32]>,
}

/// What tells one state of a file from another, and when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    length: u64,
    changed: (i64, i64),
    mode: u32,
}

/// Whether a look found something new.
#[derive(Debug)]
pub struct Look<T> {
    /// What the file says.
    pub value: Arc<T>,
    /// SHA-256 of its bytes, until they have been acknowledged.
    pub new: Option<[u8; 32]>,
}

impl<T> Watched<T> {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None, bytes: Vec::new(), value: None, new: None }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says now. One that cannot be used any more leaves what was read before, and `broken` is told why, once. One
    /// that is gone or cannot be read leaves nothing.
    ///
    /// # Errors
    /// When the file cannot be read, or cannot be used and never could.
    pub fn look<E: From<FileError>>(
        &mut self,
        parse: impl FnOnce(&[u8], &Path) -> Result<T, E>,
        broken: impl FnOnce(&E),
    ) -> Result<Look<T>, E> {
        let now = self.stat();
        if let (Some(value), Some(seen)) = (&self.value, self.seen)
            && now == Some(seen)
        {
            return Ok(Look { value: Arc::clone(value), new: self.new });
        }
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                (self.value, self.bytes, self.seen) = (None, Vec::new(), None);
                return Err(error.into());
            }
        };
        // What was changed just now may change again unseen: it is read again until it has settled.
        self.seen = now.filter(Seen::has_settled);
        if let Some(value) = &self.value
            && bytes == self.bytes
        {
            return Ok(Look { value: Arc::clone(value), new: self.new });
        }
        let (value, new) = match (parse(&bytes, &self.path), &self.value) {
            (Ok(value), _) => (Arc::new(value), Some(openssl::sha::sha256(&bytes))),
            (Err(error), Some(before)) => {
                broken(&error);
                (Arc::clone(before), self.new)
            }
            (Err(error), None) => return Err(error),
        };
        (self.value, self.bytes, self.new) = (Some(Arc::clone(&value)), bytes, new);
        Ok(Look { value, new })
    }

    /// Takes note that what has this digest is known.
    pub fn acknowledge(&mut self, digest: [u8; 32]) {
        self.new = self.new.filter(|new| *new != digest);
    }

    fn stat(&self) -> Option<Seen> {
        let facts = fs::metadata(&self.path).ok()?;
        // The change time, not the modification time: nobody can set it back.
        let changed = (facts.ctime(), facts.ctime_nsec());
        Some(Seen { inode: facts.ino(), length: facts.len(), changed, mode: facts.mode() })
    }
}

impl Seen {
    fn has_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now > Duration::from_secs(u64::try_from(self.changed.0).unwrap_or(0)) + GRAIN
    }
}
