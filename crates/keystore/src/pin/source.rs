//! The source of a PIN: a file that is read at each login, or pages that keep a PIN whose source cannot be read again.

use std::{path::PathBuf, sync::Arc};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use stationmaster_system::{files::words, memory::SecretPages};
use zeroize::Zeroizing;

use super::{PinError, file};

/// Source of a PIN, read at each login. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PinSource(Source);

#[derive(Debug, Clone)]
enum Source {
    File { path: PathBuf, closed_to_others: bool },
    Kept(Arc<SecretPages>),
}

/// The source of a PIN on its way to another process of the program.
#[derive(Serialize, Deserialize)]
pub(crate) enum WirePin {
    File {
        path: PathBuf,
        closed_to_others: bool,
    },
    Kept {
        #[serde(with = "kept")]
        pin: Zeroizing<Vec<u8>>,
    },
}

impl std::fmt::Debug for WirePin {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("WirePin")
    }
}

/// A kept PIN in a message.
mod kept {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(pin: &Zeroizing<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        pin[..].serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        Vec::deserialize(from).map(Zeroizing::new)
    }
}

/// For messages: names the place where the PIN can be corrected.
impl std::fmt::Display for PinSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Source::File { path, closed_to_others: true, .. } => write!(out, "the file {}", path.display()),
            Source::File { path, .. } => write!(out, "the systemd credential {}", path.display()),
            Source::Kept(_) => out.write_str("the environment or the terminal"),
        }
    }
}

impl PinSource {
    /// Keeps a PIN that cannot be read from its source again.
    ///
    /// # Errors
    /// [`PinError::NoMemory`].
    pub fn keep(pin: &SecretString) -> Result<PinSource, PinError> {
        let kept = SecretPages::new(pin.expose_secret().as_bytes())
            .map_err(|error| PinError::NoMemory { kind: error.kind(), reason: words(&error) })?;
        Ok(PinSource(Source::Kept(Arc::new(kept))))
    }

    pub(super) fn file(path: PathBuf, closed_to_others: bool) -> Result<PinSource, PinError> {
        let source = PinSource(Source::File { path, closed_to_others });
        // A defect of the file is reported now, not at the first login.
        source.check()?;
        Ok(source)
    }

    /// Returns the source for another process of the program. A PIN that is kept is part of it.
    pub(crate) fn to_wire(&self) -> WirePin {
        match &self.0 {
            Source::File { path, closed_to_others } => WirePin::File { path: path.clone(), closed_to_others: *closed_to_others },
            Source::Kept(pin) => WirePin::Kept { pin: Zeroizing::new(pin.expose().to_vec()) },
        }
    }

    /// Returns the source that another process of the program sent.
    pub(crate) fn from_wire(pin: WirePin) -> Result<Self, PinError> {
        match pin {
            WirePin::File { path, closed_to_others } => Ok(Self(Source::File { path, closed_to_others })),
            WirePin::Kept { pin } => {
                let text = std::str::from_utf8(&pin).map_err(|_| PinError::Malformed { from: "memory".to_owned() })?;
                Self::keep(&SecretString::from(text.to_owned()))
            }
        }
    }

    /// Returns the PIN for one login. The caller should drop it soon.
    ///
    /// # Errors
    /// When its file can no longer be read, or no longer holds a PIN.
    pub fn read(&self) -> Result<SecretString, PinError> {
        match &self.0 {
            Source::File { path, closed_to_others } => file::read(path, *closed_to_others, &self.to_string()),
            Source::Kept(pin) => {
                let text = std::str::from_utf8(pin.expose()).map_err(|_| PinError::Malformed { from: "memory".to_owned() })?;
                Ok(SecretString::from(text.to_owned()))
            }
        }
    }

    /// Checks whether the next login could read the PIN, without reading it: only whether its first line is empty is looked at.
    ///
    /// # Errors
    /// As [`PinSource::read`].
    pub fn check(&self) -> Result<(), PinError> {
        let Source::File { path, closed_to_others } = &self.0 else { return Ok(()) };
        file::check(path, *closed_to_others, &self.to_string())
    }
}
