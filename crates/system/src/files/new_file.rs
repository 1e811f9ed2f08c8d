//! A file that is written under a temporary name, or none, and gets its name only when it is complete.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
};

use rustix::{
    fs::{AtFlags, FileType, RenameFlags, linkat, renameat, renameat_with, unlinkat},
    io::Errno,
};

use super::{
    Directory,
    directory::{check_component, temporary_name},
};

/// A file that is being written and does not have its name yet. When dropped before that, nothing of it stays.
#[derive(Debug)]
pub struct NewFile {
    directory: Directory,
    name: OsString,
    file: File,
    /// Its temporary name, on a file system without unnamed files.
    temporary: Option<OsString>,
}

impl NewFile {
    /// Begins a file that belongs to this process's user and has exactly this mode.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn begin(directory: &Directory, name: impl AsRef<OsStr>, mode: u32) -> io::Result<Self> {
        let (name, directory) = (check_component(name.as_ref())?.to_owned(), directory.try_clone()?);
        let (file, temporary) = match directory.unnamed(0o600) {
            Ok(file) => (file, None),
            // NFS and some FUSE file systems do not support unnamed files.
            Err(error)
                if [Errno::OPNOTSUPP, Errno::ISDIR, Errno::INVAL, Errno::NOENT]
                    .map(io::Error::from)
                    .iter()
                    .any(|known| known.raw_os_error() == error.raw_os_error()) =>
            {
                let temporary = temporary_name(&name);
                (directory.create_new(&temporary, 0o600)?, Some(temporary))
            }
            Err(error) => return Err(error),
        };
        let new = Self { directory, name, file, temporary };
        new.file.set_permissions(Permissions::from_mode(mode))?;
        Ok(new)
    }

    /// Syncs the file to the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(self) -> io::Result<Self> {
        self.file.sync_all()?;
        Ok(self)
    }

    /// Gives the file its name, replacing an existing file, and makes that durable.
    ///
    /// # Errors
    /// When the rename fails.
    pub fn publish(self) -> io::Result<()> {
        let directory = self.directory.try_clone()?;
        self.publish_unsynced()?;
        directory.sync()
    }

    /// Gives the file its name, replacing an existing file. The directory is not synced: after a crash of the system the previous
    /// file may be there.
    ///
    /// # Errors
    /// When the rename fails.
    pub fn publish_unsynced(mut self) -> io::Result<()> {
        let temporary = match self.temporary.take() {
            Some(temporary) => temporary,
            None => {
                let temporary = temporary_name(&self.name);
                self.directory.link(&self.file, &temporary)?;
                temporary
            }
        };
        if let Err(error) = renameat(&self.directory, &temporary, &self.directory, &self.name) {
            self.temporary = Some(temporary);
            return Err(error.into());
        }
        Ok(())
    }

    /// Gives the file its name, which must not exist.
    ///
    /// # Errors
    /// `AlreadyExists`, or the error of the file system.
    pub fn publish_new(mut self) -> io::Result<()> {
        let Some(temporary) = self.temporary.take() else {
            self.directory.link(&self.file, &self.name)?;
            return self.directory.sync();
        };
        let at = self.directory.as_fd();
        let moved = match renameat_with(at, &temporary, at, &self.name, RenameFlags::NOREPLACE) {
            // A file system without these flags, such as NFS: a hard link fails when the name exists.
            Err(Errno::INVAL | Errno::NOSYS) => linkat(at, &temporary, at, &self.name, AtFlags::empty()).map(|()| {
                let _ = unlinkat(at, &temporary, AtFlags::empty());
            }),
            other => other,
        };
        if let Err(error) = moved {
            self.temporary = Some(temporary);
            return Err(error.into());
        }
        self.directory.sync()
    }
}

impl Directory {
    /// Begins a file that will replace the file of this name, atomically. It gets the owner of the previous file; if there was none
    /// and root creates it, the directory's owner, because files that root's commands write must belong to the service.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn begin(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<NewFile> {
        let new = NewFile::begin(self, &name, 0o600)?;
        let before = self.stat_of(name)?.filter(|facts| FileType::from_raw_mode(facts.st_mode) == FileType::RegularFile);
        self.give_to_owner(&new.file, before.as_ref())?;
        // After the owner: changing the owner clears bits of the mode.
        new.file.set_permissions(Permissions::from_mode(mode))?;
        Ok(new)
    }

    /// Writes a file atomically, replacing an existing one; see [`Directory::begin`].
    ///
    /// # Errors
    /// When it cannot be written; the previous file stays.
    pub fn replace(&self, name: impl AsRef<OsStr>, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let mut new = self.begin(name, mode)?;
        new.write_all(bytes)?;
        new.sync()?.publish()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(&self.directory, temporary, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_unnamed_files_keeps_an_existing_file_too() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(parent.path()).unwrap();
        let begin = |content: &[u8]| {
            let temporary = temporary_name(OsStr::new("f"));
            let mut file = directory.create_new(&temporary, 0o600).unwrap();
            file.write_all(content).unwrap();
            NewFile { directory: directory.try_clone().unwrap(), name: "f".into(), file, temporary: Some(temporary) }
        };
        begin(b"first").publish_new().unwrap();
        assert_eq!(begin(b"second").publish_new().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(parent.path().join("f")).unwrap(), b"first");
        begin(b"third").publish().unwrap();
        drop(begin(b"fourth"));
        assert_eq!(std::fs::read(parent.path().join("f")).unwrap(), b"third");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    }
}
