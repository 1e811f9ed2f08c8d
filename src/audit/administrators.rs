//! Follows the log of the administrators' commands: records its position in the service's own log, where it is signed. Thus it
//! is protected against rewriting, truncation and removal as well as the service's log is.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    AuditError, Remembered, read,
    verify::{Expected, Head, verify},
};

/// Result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChange {
    /// Nothing has changed.
    Unchanged,
    /// The log continues from the known position.
    Advanced(Remembered),
    /// The log does not continue from the known position: why, and its present position, if there is a log.
    Broken(String, Option<Remembered>),
}

/// Follows the log in a directory.
#[derive(Debug)]
pub struct Administrators {
    directory: PathBuf,
    known: Option<Remembered>,
    /// The last segment when it was last read: its name, inode, length and time of change.
    seen: Option<(PathBuf, u64, u64, i64, i64)>,
}

impl Administrators {
    /// Takes the directory of all logs, and the known position.
    #[must_use]
    pub fn new(directory: &Path, known: Option<Remembered>) -> Self {
        Self { directory: directory.join(super::ADMINISTRATORS), known, seen: None }
    }

    /// Checks the log. Reads all of it when it has changed: it contains a few records for each command.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn check(&mut self) -> Result<LogChange, AuditError> {
        let segments = match read::segments(&self.directory) {
            Ok(segments) => segments,
            Err(AuditError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let files: Vec<_> = segments.into_iter().map(|(_, path)| path).collect();
        let Some(last) = files.last() else {
            self.seen = None;
            return Ok(match self.known.take() {
                None => LogChange::Unchanged,
                Some(known) => LogChange::Broken(format!("log {} with {} records no longer exists", known.log, known.size), None),
            });
        };
        let flaw = |path: &Path, source| AuditError::io(format!("read {}", path.display()), source);
        // Nothing is opened that could block the reader.
        for path in &files {
            if !fs::metadata(path).map_err(|source| flaw(path, source))?.is_file() {
                return Err(flaw(path, std::io::Error::other("it is not a file")));
            }
        }
        let is = fs::metadata(last).map_err(|source| flaw(last, source))?;
        let seen = Some((last.clone(), is.ino(), is.len(), is.mtime(), is.mtime_nsec()));
        if seen == self.seen {
            return Ok(LogChange::Unchanged);
        }
        let head = self.known.as_ref().map(|known| Head { size: known.size, hash: known.head });
        let found = verify(&files, Expected { head, ..Expected::default() })?;
        self.seen = seen;
        let now = found.head.map(|head| Remembered { log: found.log.clone(), size: head.size, head: head.hash });
        let before = std::mem::replace(&mut self.known, now.clone());
        let is_other = before.as_ref().is_some_and(|before| before.log != found.log);
        Ok(match (found.flaws.first(), now, before) {
            (_, now, Some(before)) if is_other => LogChange::Broken(format!("log {} is not {}", found.log, before.log), now),
            (Some(flaw), now, _) => LogChange::Broken(format!("{}:{}: {}", flaw.file.display(), flaw.line, flaw.what), now),
            (None, Some(now), before) if before.as_ref() != Some(&now) => LogChange::Advanced(now),
            _ => LogChange::Unchanged,
        })
    }
}
