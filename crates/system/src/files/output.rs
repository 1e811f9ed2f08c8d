//! Output files of commands.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno, process::geteuid};

use super::{Directory, NewFile, input::is_descriptor};

/// Users who may read the file, whatever the umask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Only its owner.
    Owner,
    /// All users: the contents are public.
    All,
}

/// What happens to an existing file of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The file stays, and nothing is written.
    Stays,
    /// The file is replaced once the new one is complete. A link itself is replaced.
    IsReplaced,
}

/// An output file. It belongs to this process's user, and gets its name only when it is complete; when dropped before that, nothing of
/// it stays. A path that names a descriptor (`/dev/fd/63`), a pipe or a device is written to directly.
#[derive(Debug)]
pub struct OutputFile(Target);

#[derive(Debug)]
enum Target {
    New(NewFile, Existing),
    Stream(File),
}

impl OutputFile {
    /// Begins the file.
    ///
    /// # Errors
    /// `AlreadyExists`, or the error of the file system: nothing was changed.
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

    /// Completes the file: syncs it to the disk and gives it its name.
    ///
    /// # Errors
    /// `AlreadyExists`, or the error of the file system: nothing of it stays.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Target::Stream(mut file) => file.flush(),
            Target::New(file, Existing::Stays) => file.sync()?.publish_new(),
            Target::New(file, Existing::IsReplaced) => file.sync()?.publish(),
        }
    }
}

fn is_stream(facts: &Metadata) -> bool {
    let kind = facts.file_type();
    kind.is_fifo() || kind.is_char_device()
}

/// Opens a pipe or a device by its name, if no other user has put it there.
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
    // The output that another program has begun is not truncated.
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
