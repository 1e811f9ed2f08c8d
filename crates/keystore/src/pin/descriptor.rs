//! Reads a PIN from an open file: standard input, or a descriptor that the caller passes.

use std::io::Read;

use secrecy::SecretString;
use stationmaster_system::files::words;
use zeroize::Zeroizing;

use super::{
    PinError,
    first_line::{MAX_PIN, first_line},
};

/// Returns the next line of an open file as a PIN. `from` names the file in messages. Reads no byte after the line, so that a second PIN
/// can follow.
///
/// # Errors
/// [`PinError::Unreadable`], and [`PinError::Malformed`] when the line is empty, too long or not UTF-8.
pub fn read_line_from(mut file: impl Read, from: &str) -> Result<SecretString, PinError> {
    let malformed = || PinError::Malformed { from: from.to_owned() };
    // Full capacity beforehand: a growing buffer leaves copies of the PIN behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PIN as usize + 2));
    let mut byte = Zeroizing::new([0]);
    while line.len() as u64 <= MAX_PIN + 1 {
        let read = file.read(&mut *byte).map_err(|error| PinError::Unreadable {
            path: from.into(),
            kind: error.kind(),
            reason: words(&error),
        })?;
        if read == 0 || byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    first_line(std::str::from_utf8(&line).map_err(|_| malformed())?, from)
}
