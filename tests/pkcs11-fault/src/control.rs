//! What a test uses to direct the module.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{journal::Journal, rules::parse};

/// The file that cargo builds.
const LIBRARY: &str = "libstationmaster_pkcs11_fault.so";

/// The module's directory, from a test's side. The test sets [`VARIABLE`](crate::VARIABLE) to it.
#[derive(Debug, Clone)]
pub struct FaultModule {
    directory: PathBuf,
}

impl FaultModule {
    /// Makes the directory of a module that passes calls to the module `real`, without rules.
    ///
    /// # Errors
    /// Errors of the file system; a path that is not valid UTF-8.
    pub fn create(directory: &Path, real: &Path) -> io::Result<FaultModule> {
        fs::create_dir_all(directory)?;
        let real = real.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
        fs::write(directory.join("module"), real)?;
        Ok(FaultModule { directory: directory.to_owned() })
    }

    /// Returns the path of the shared object, which cargo puts beside the executables of the tests that depend on this crate.
    ///
    /// # Errors
    /// `NotFound` when it does not exist there.
    pub fn library() -> io::Result<PathBuf> {
        let test = std::env::current_exe()?;
        let candidates = test
            .ancestors()
            .skip(1)
            .take(2)
            .flat_map(|directory| [directory.join(LIBRARY), directory.join("deps").join(LIBRARY)]);
        candidates
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{LIBRARY} is not beside {}", test.display())))
    }

    /// Returns the module's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces the rules, one per line. They apply from the next call on, and count calls from there.
    ///
    /// # Errors
    /// `InvalidInput` for a rule that cannot be read, and errors of the file system.
    pub fn set(&self, rules: &str) -> io::Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        parse(rules).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let spare = self.directory.join(format!("rules.{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::write(&spare, rules)?;
        fs::rename(spare, self.directory.join("rules"))
    }

    /// Removes all rules.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn clear(&self) -> io::Result<()> {
        self.set("")
    }

    /// Returns the calls so far, of all processes.
    ///
    /// # Errors
    /// Errors of the file system; `InvalidData` for a malformed line.
    pub fn journal(&self) -> io::Result<Journal> {
        Journal::read(&self.directory)
    }
}
