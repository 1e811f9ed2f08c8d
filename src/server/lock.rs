//! Lock files: one service per directory or socket. The kernel releases the lock with the process, so a crash leaves none.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
};

use stationmaster_system::files::{Directory, explained, try_lock};

use super::ServerError;

/// A held lock, released when dropped. The file stays: removing it would allow two holders of two files with one name.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, and writes the process id into the file.
    ///
    /// # Errors
    /// When another process holds the lock, or the file cannot be opened.
    pub fn acquire(path: &Path, what: &str) -> Result<Self, ServerError> {
        let trouble = |error: io::Error| {
            let error = match (error.kind(), path.parent()) {
                (io::ErrorKind::NotFound, Some(parent)) => io::Error::new(error.kind(), missing(parent)),
                _ => explained(path, error),
            };
            ServerError::io(format!("cannot lock {}", path.display()), error)
        };
        // The file must be created by this user and be no link: the link's target would be overwritten.
        let mut file = Directory::of_file(path).and_then(|(directory, name)| directory.open_own(name)).map_err(trouble)?;
        if !try_lock(&file).map_err(trouble)? {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(ServerError::Held { what: what.to_owned(), holder: text.trim().parse().ok() });
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(trouble)?;
        writeln!(file, "{}", std::process::id()).map_err(trouble)?;
        Ok(Self { _file: file })
    }
}

fn missing(directory: &Path) -> String {
    let (own, directory) = (rustix::process::geteuid().as_raw(), directory.display());
    format!(
        "the directory {directory} does not exist: systemd's RuntimeDirectory= creates it; or run: install -d -m 0750 -o {own} {directory}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_receives_the_holders_id() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::acquire(&path, "the state directory").unwrap();
        let error = Lock::acquire(&path, "the state directory").unwrap_err();
        assert!(matches!(error, ServerError::Held { holder: Some(pid), .. } if pid == std::process::id()));
        drop(first);
        Lock::acquire(&path, "the state directory").unwrap();
    }
}
