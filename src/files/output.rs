//! A file that a person names for what a command writes.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno, process::geteuid};

use super::{Directory, NewFile, input::is_descriptor};

/// Who may read it, whatever the umask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone.
    Owner,
    /// Everybody: it is public.
    All,
}

/// What becomes of a file that has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    Stays,
    /// It is replaced once the new one is whole. Of a link, the link is.
    IsReplaced,
}

/// The file. It belongs to this process's user, and has its name only when it is whole; dropped before that, nothing of it stays. What
/// stands for a descriptor (`/dev/fd/63`), a pipe or a device is written to as it is.
#[derive(Debug)]
pub struct OutputFile(Target);

#[derive(Debug)]
enum Target {
    New(NewFile, Existing),
    Stream(File),
}

impl OutputFile {
    /// Begins it.
    ///
    /// # Errors
    /// `AlreadyExists`, or what stands in the way: nothing was changed.
    pub fn begin(path: &Path, existing: Existing, readers: Readers) -> io::Result<Self> {
        if is_descriptor(path) {
            return Ok(Self(Target::Stream(stream(path, OFlags::empty())?)));
        }
        match fs::symlink_metadata(path) {
            Ok(facts) if facts.is_dir() => return Err(Errno::ISDIR.into()),
            Ok(facts) if is_stream(&facts) => return of_stream(path).map(|file| Self(Target::Stream(file))),
            Ok(_) if existing == Existing::Stays => return Err(Errno::EXIST.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let (directory, name) = Directory::of_file(path)?;
        let mode = if readers == Readers::All { 0o644 } else { 0o600 };
        Ok(Self(Target::New(NewFile::begin(&directory, &name, mode)?, existing)))
    }

    /// All has been written: has it on the disk, under its name.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the disk says: nothing of it stays.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Target::Stream(mut file) => file.flush(),
            Target::New(file, Existing::Stays) => file.settle()?.put_new(),
            Target::New(file, Existing::IsReplaced) => file.settle()?.put(),
        }
    }
}

fn is_stream(facts: &Metadata) -> bool {
    let kind = facts.file_type();
    kind.is_fifo() || kind.is_char_device()
}

/// A pipe or a device by its name, that nobody else has put there.
fn of_stream(path: &Path) -> io::Result<File> {
    let file = stream(path, OFlags::NOFOLLOW)?;
    let facts = file.metadata()?;
    if !is_stream(&facts) {
        return Err(Errno::EXIST.into());
    }
    if ![0, geteuid().as_raw()].contains(&facts.uid()) {
        let why = format!("it is not a regular file and belongs to uid {}, which could read what is written", facts.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(file)
}

fn stream(path: &Path, more: OFlags) -> io::Result<File> {
    // What another program has begun to write is not cut off.
    File::options().append(true).custom_flags((OFlags::NOCTTY | more).bits().cast_signed()).open(path)
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Target::New(file, _) => file.write(bytes),
            Target::Stream(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Target::New(file, _) => file.flush(),
            Target::Stream(file) => file.flush(),
        }
    }
}
