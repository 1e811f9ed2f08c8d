//! Reads a PIN from a file that is closed to others, or from a systemd credential.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use secrecy::SecretString;
use stationmaster_system::files::{
    explained, guarded,
    guarded::{GuardError, Reader, Secrecy},
    words,
};
use zeroize::Zeroizing;

use super::{
    PinError,
    first_line::{MAX_PIN, first_line},
};

/// Reads the PIN. `from` names the file in messages.
pub(super) fn read(path: &Path, closed_to_others: bool, from: &str) -> Result<SecretString, PinError> {
    let file = open(path, closed_to_others)?;
    // Full capacity beforehand: a growing buffer leaves copies of the PIN behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_PIN as usize + 2));
    match file.take(MAX_PIN + 2).read_to_string(&mut text) {
        Ok(_) => first_line(&text, from),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(PinError::Malformed { from: from.to_owned() }),
        Err(error) => Err(unreadable(path, error)),
    }
}

/// Checks whether the file could be read, and whether its first line is empty. Reads no more than its first byte.
pub(super) fn check(path: &Path, closed_to_others: bool, from: &str) -> Result<(), PinError> {
    let mut first = [0];
    let read = open(path, closed_to_others)?.read(&mut first).map_err(|error| unreadable(path, error))?;
    match first[..read] {
        [] | [b'\n' | b'\r'] => Err(PinError::Malformed { from: from.to_owned() }),
        _ => Ok(()),
    }
}

/// Opens a file that may hold a PIN. Owner and mode of a credential are left to systemd; a FIFO is never waited for.
fn open(path: &Path, closed_to_others: bool) -> Result<File, PinError> {
    let unreadable = |error| unreadable(path, error);
    let file = if closed_to_others {
        guarded::open_guarded(path, Reader::Command, Secrecy::Secret).map_err(|refused| match refused {
            GuardError::Rule(why) => PinError::Unprotected(why),
            GuardError::NotAFile(why) => PinError::NotAFile(why),
            GuardError::Missing => unreadable(std::io::ErrorKind::NotFound.into()),
            GuardError::Io(error) => unreadable(error),
        })?
    } else {
        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed();
        File::options().read(true).custom_flags(flags).open(path).map_err(unreadable)?
    };
    // The mode is read from the opened file, so that what is checked is what is read.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
    if closed_to_others && mode & 0o077 != 0 {
        return Err(PinError::TooOpen { path: path.to_owned(), mode });
    }
    Ok(file)
}

fn unreadable(path: &Path, error: std::io::Error) -> PinError {
    let kind = error.kind();
    PinError::Unreadable { kind, reason: words(&explained(path, error)), path: path.to_owned() }
}
