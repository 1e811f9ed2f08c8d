//! Writes standard output; no other module does. A write error is remembered, as in C programs that close their standard output before
//! they exit: a command that did its work but could not report it must not exit successfully.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use stationmaster_system::files::words;

use crate::cli::error::{CliError, Exit};

/// Why output was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Lost {
    /// The reader has closed the pipe, because it needs no more.
    Closed,
    /// Anything else: a full disk, an error of the device.
    Failed(String),
}

/// The first failure of this process's standard output.
static LOST: Mutex<Option<Lost>> = Mutex::new(None);

/// Returns the first failure, if there was one.
pub(in crate::cli) fn lost() -> Option<Lost> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Writes bytes unchanged and flushes them. After a failure nothing more is written.
pub(in crate::cli) fn write(bytes: &[u8]) -> Result<(), Lost> {
    if let Some(lost) = lost() {
        return Err(lost);
    }
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| note(&error))
}

/// Remembers a failure of standard output.
pub(in crate::cli) fn note(error: &io::Error) -> Lost {
    let lost = if error.kind() == io::ErrorKind::BrokenPipe { Lost::Closed } else { Lost::Failed(words(error)) };
    LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(lost).clone()
}

/// Standard output as a writer.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes).map(|()| bytes.len()).map_err(|lost| match lost {
            Lost::Closed => io::ErrorKind::BrokenPipe.into(),
            Lost::Failed(cause) => io::Error::other(cause),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ends a command that writes a stream: successfully if its reader has closed the pipe.
impl From<Lost> for CliError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Closed => Self::new(Exit::Done, "the reader has closed the pipe"),
            Lost::Failed(cause) => Self::other(format!("cannot write to standard output: {cause}"))
                .with_hint("free space, or redirect the output, then repeat the command"),
        }
    }
}
