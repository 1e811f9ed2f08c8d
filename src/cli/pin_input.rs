//! PINs that a command reads: from a terminal without echo, a file that is closed to others, standard input, or an open descriptor. Never
//! from an argument.

use std::{fs::File, path::PathBuf, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use stationmaster_keystore::pin::{self, PinError};

use super::error::CliError;
use crate::config::{PinSetting, TokenConfig};

/// Where an option says that a PIN is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PinPlace {
    /// The first line of a file.
    File(PathBuf),
    /// The next line of standard input.
    Stdin,
    /// The first line of an open descriptor.
    Descriptor(u32),
}

impl FromStr for PinPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("fd:") {
            _ if text == "-" => Ok(Self::Stdin),
            None => Ok(Self::File(text.into())),
            Some(number) => {
                let number = number.parse().ok().filter(|number| *number > 2);
                number.map(Self::Descriptor).ok_or_else(|| "fd:N needs the number of an open descriptor from 3".to_owned())
            }
        }
    }
}

impl PinPlace {
    /// Returns the file, if it is one.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(file) => Some(file),
            _ => None,
        }
    }

    pub(super) fn read(&self) -> Result<SecretString, PinError> {
        match self {
            Self::File(file) => pin::resolve(Some(file), None, None, false)?.read(),
            Self::Stdin => pin::read_line_from(Unbuffered, "standard input"),
            Self::Descriptor(number) => {
                let path = PathBuf::from(format!("/proc/self/fd/{number}"));
                let file = File::open(&path).map_err(|error| PinError::Unreadable {
                    kind: error.kind(),
                    reason: format!("the descriptor {number} is not open, or cannot be read"),
                    path,
                })?;
                pin::read_line_from(file, &format!("the descriptor {number}"))
            }
        }
    }
}

/// Standard input without the buffer of the standard library, in which a PIN would stay.
struct Unbuffered;

impl std::io::Read for Unbuffered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

/// Reads the PIN of a configured source: a file, a credential or a variable. Returns `None` if the terminal has to be asked.
pub(super) fn configured(token: &TokenConfig) -> Result<Option<SecretString>, PinError> {
    Ok(Some(match token.pin() {
        PinSetting::File(file) => pin::resolve(Some(&file), None, None, false)?.read()?,
        PinSetting::Credential(name) => pin::resolve(None, None, Some(&name), false)?.read()?,
        PinSetting::Env(name) => pin::resolve(None, Some(&name), None, false)?.read()?,
        PinSetting::Prompt => return Ok(None),
    }))
}

/// Reads a PIN of an environment variable, if it is set.
pub(super) fn of_variable(name: &str) -> Result<Option<SecretString>, PinError> {
    std::env::var_os(name).map(|_| pin::resolve(None, Some(name), None, false)?.read()).transpose()
}

/// Reads a PIN that the token has, from the terminal.
pub(super) fn prompt(what: &str, option: &str) -> Result<SecretString, CliError> {
    let typed = ask(what, what, option)?;
    if typed.expose_secret().is_empty() {
        return Err(CliError::usage(format!("the {what} is empty")));
    }
    Ok(typed)
}

/// Reads a new PIN twice from the terminal, because a mistyped PIN would lock the token permanently.
pub(super) fn prompt_twice(what: &str, option: &str) -> Result<SecretString, CliError> {
    let first = ask(what, what, option)?;
    let second = ask(what, &format!("{what}, again"), option)?;
    if first.expose_secret() != second.expose_secret() || first.expose_secret().is_empty() {
        return Err(CliError::usage(format!("the two entries of the {what} differ, or are empty; nothing was changed")));
    }
    Ok(first)
}

fn ask(what: &str, prompt: &str, option: &str) -> Result<SecretString, CliError> {
    rpassword::prompt_password(format!("{prompt}: ")).map(SecretString::from).map_err(|_| {
        CliError::usage(format!("no {what} is named, and there is no terminal to read it from"))
            .with_hint(format!("name a file whose first line is the {what}: {option} FILE"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_names_a_file_standard_input_or_a_descriptor() {
        assert_eq!("-".parse(), Ok(PinPlace::Stdin));
        assert_eq!("fd:3".parse(), Ok(PinPlace::Descriptor(3)));
        assert_eq!("so.pin".parse(), Ok(PinPlace::File("so.pin".into())));
        for wrong in ["fd:", "fd:x", "fd:0", "fd:2", "fd:-1"] {
            assert!(wrong.parse::<PinPlace>().is_err(), "{wrong}");
        }
    }
}
