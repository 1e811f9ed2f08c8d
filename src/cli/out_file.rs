//! The output file of option `-o`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use stationmaster_system::files::{Existing, OutputFile, Readers};

use super::error::{CliError, Exit};

/// The options of a command that writes to standard output or to a file.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Out {
    /// Write to a new file instead of standard output
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// With -o: replace an existing file
    #[arg(long, requires = "out")]
    force: bool,
}

impl Out {
    /// Begins the file; returns `None` for standard output.
    pub(super) fn begin(&self, readers: Readers) -> Result<Option<OutFile>, CliError> {
        named(self.out.as_deref()).map(|path| OutFile::begin(path, self.force, readers)).transpose()
    }
}

/// Returns the named file, unless it is standard output.
pub(super) fn named(out: Option<&Path>) -> Option<&Path> {
    const STANDARD_OUTPUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
    out.filter(|path| !STANDARD_OUTPUT.iter().any(|name| path.as_os_str() == *name))
}

/// A new file. It gets its name when it is complete; when dropped before, nothing of it stays.
pub(super) struct OutFile {
    path: PathBuf,
    file: OutputFile,
}

impl OutFile {
    /// Begins a file; `replace` permits replacing an existing one.
    pub(super) fn begin(path: &Path, replace: bool, readers: Readers) -> Result<Self, CliError> {
        let existing = if replace { Existing::IsReplaced } else { Existing::Stays };
        let file = OutputFile::begin(path, existing, readers).map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the complete contents.
    pub(super) fn write(mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|error| failed(&self.path, &error))?;
        self.finish()
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<(), CliError> {
        self.file.finish().map_err(|error| failed(&self.path, &error))
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return CliError::new(Exit::State, format!("{} already exists", path.display()))
            .with_hint("name another file, or replace it with --force");
    }
    CliError::file("write", path, error)
}
