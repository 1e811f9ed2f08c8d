//! Remembers rejected PINs, so that a restarting service does not lock its own token.
//!
//! A PIN that the token rejected is remembered for this process and, when a file is configured, across restarts. It is not
//! tried again; a different PIN is. The file holds salted, slow hashes (PBKDF2-HMAC-SHA-256), because a wrong PIN is often
//! close to the right one.
//!
//! The rule, given the token's own flags:
//!
//! | token reports | login |
//! |---|---|
//! | locked, or final try | never |
//! | count low, and no latch file | no: it is unknown whether this PIN failed |
//! | count low, with a latch file | yes, if this PIN is not in it |
//! | nothing | yes, if this PIN is not remembered |
//!
//! Thus every PIN is tried at most once after it failed, and this service never uses the last try. A correct PIN changes nothing: only an
//! administrator permits a rejected PIN again, by removing the file or with `pin change`, `pin unblock` or `pin set`.
//! Processes with the same file log in one after another, so that those that start at once try a wrong PIN once.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use openssl::{hash::MessageDigest, pkcs5::pbkdf2_hmac, rand::rand_bytes};
use secrecy::{ExposeSecret, SecretString};
use stationmaster_system::{
    files::{Directory, input, try_lock, words},
    memory::SecretPages,
};
use subtle::ConstantTimeEq;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::KeystoreError;

const HEADER: &str = "# stationmaster: PINs that the token refused (salted hashes); delete this file to allow them again";
const ROUNDS: usize = 100_000;
const SALT: usize = 16;
/// Number of rejected PINs above which no other is tried: something other than a mistake changes them.
const MOST: usize = 64;

/// How long a login waits for the logins of other processes.
const TURN: Duration = Duration::from_secs(30);

/// PINs rejected in this process: (serial, mark). In memory a plain set of marks is sufficient.
static REJECTED: Mutex<BTreeSet<(String, [u8; 32])>> = Mutex::new(BTreeSet::new());

/// What the token's flags report about wrong PINs entered so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PinRisk {
    pub(super) count_low: bool,
    pub(super) final_try: bool,
    pub(super) locked: bool,
}

/// The latch of one token.
#[derive(Debug, Clone)]
pub(super) struct PinLatch {
    file: Option<PathBuf>,
}

/// Permission to try a PIN once, with the means to remember that it failed.
pub(super) struct Attempt<'a> {
    latch: &'a PinLatch,
    serial: &'a str,
    pin: &'a SecretString,
    /// Created before the login, with a name: a directory that takes no file must prevent the login, not follow it. A
    /// [`NewFile`](stationmaster_system::files::NewFile) has no name before it is complete.
    spare: Option<NamedTempFile>,
    remembered: String,
    /// Locked: no other process with this file logs in meanwhile.
    turn: Option<Directory>,
}

impl PinLatch {
    pub(super) fn new(file: Option<PathBuf>) -> PinLatch {
        PinLatch { file }
    }

    /// Returns the path of the latch file, if one is configured.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.file.clone()
    }

    /// Checks whether this PIN, which comes from `source`, may be tried on the token now.
    pub(super) fn permit<'a>(
        &'a self,
        serial: &'a str,
        (pin, source): (&'a SecretString, &str),
        risk: PinRisk,
    ) -> Result<Attempt<'a>, KeystoreError> {
        let latched = || KeystoreError::PinLatched { pin: source.to_owned(), latch: self.file() };
        if risk.locked {
            return Err(KeystoreError::PinAtRisk { state: "locked" });
        }
        if risk.final_try {
            return Err(KeystoreError::PinAtRisk { state: "final try" });
        }
        if rejected().contains(&(serial.to_owned(), mark(serial, pin))) {
            return Err(latched());
        }
        let mut attempt = Attempt { latch: self, serial, pin, spare: None, remembered: String::new(), turn: None };
        match &self.file {
            None if risk.count_low => return Err(KeystoreError::PinAtRisk { state: "count low" }),
            None => {}
            Some(file) => {
                attempt.turn = Some(turn(file)?);
                attempt.remembered = read(file)?;
                if attempt.remembered.lines().filter(|line| !line.starts_with('#')).count() >= MOST {
                    return Err(KeystoreError::LatchUnusable {
                        path: file.clone(),
                        reason: format!(
                            "it has {MOST} PINs that the token refused: find out what changes the PIN, then delete it"
                        ),
                    });
                }
                for line in attempt.remembered.lines().filter(|line| !line.starts_with('#')) {
                    if matches(file, line, serial, pin)? {
                        return Err(latched());
                    }
                }
                let directory = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                attempt.spare = Some(NamedTempFile::new_in(directory).map_err(|error| unusable(file, &error))?);
            }
        }
        Ok(attempt)
    }
}

impl Attempt<'_> {
    /// Records that the token rejected the PIN.
    pub(super) fn rejected(mut self) {
        rejected().insert((self.serial.to_owned(), mark(self.serial, self.pin)));
        let (Some(file), Some(mut spare)) = (&self.latch.file, self.spare.take()) else {
            return;
        };
        let written = line(self.serial, self.pin).and_then(|line| {
            let kept: String = self.remembered.lines().filter(|line| !line.starts_with('#')).map(|l| format!("{l}\n")).collect();
            spare.write_all(format!("{HEADER}\n{kept}{line}\n").as_bytes())?;
            spare.as_file().sync_all()?;
            spare.persist(file).map_err(|error| error.error)?;
            // The service must be able to read what a command of root remembers.
            Directory::of_file(file).and_then(|(directory, name)| directory.open_own(name))?;
            Ok(())
        });
        if let Err(error) = written {
            tracing::error!(
                error = words(&error),
                "the rejected PIN could not be remembered: do not restart before it is corrected"
            );
        }
    }
}

/// Returns a short name for (token, PIN), valid in this process only, that does not reveal the PIN.
pub(super) fn mark(serial: &str, pin: &SecretString) -> [u8; 32] {
    // In pages that no core dump contains: with salt and mark, short PINs could be found by trying them.
    static SALT_OF_PROCESS: LazyLock<Option<SecretPages>> = LazyLock::new(|| {
        let mut salt = Zeroizing::new([0; 32]);
        // Without guarded pages the marks are only easier to guess.
        rand_bytes(&mut *salt).ok()?;
        SecretPages::new(&*salt).ok()
    });
    let mut hash = openssl::sha::Sha256::new();
    hash.update(SALT_OF_PROCESS.as_ref().map(SecretPages::expose).unwrap_or_default());
    hash.update(&(serial.len() as u64).to_be_bytes());
    hash.update(serial.as_bytes());
    hash.update(pin.expose_secret().as_bytes());
    hash.finish()
}

fn rejected() -> std::sync::MutexGuard<'static, BTreeSet<(String, [u8; 32])>> {
    REJECTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clears the memory of this process, as a restart does.
#[cfg(test)]
pub(super) fn forget_this_process(serial: &str) {
    rejected().retain(|(known, _)| known != serial);
}

/// Waits until no other process logs in with this latch file. The lock is that of the file's directory, because the file is
/// replaced, and is released with the descriptor.
fn turn(file: &Path) -> Result<Directory, KeystoreError> {
    let (directory, _) = Directory::of_file(file).map_err(|error| unusable(file, &error))?;
    let since = Instant::now();
    while !try_lock(&directory).map_err(|error| unusable(file, &error))? {
        if since.elapsed() > TURN {
            return Err(KeystoreError::Unavailable { reason: "the login of another process does not end" });
        }
        sleep(Duration::from_millis(20));
    }
    Ok(directory)
}

fn read(file: &Path) -> Result<String, KeystoreError> {
    match input::read_text(file, 1 << 20) {
        // A latch file is written whole and has a first line: an empty one was cut off, and which PINs it held is unknown.
        Ok(text) if text.trim().is_empty() => Err(KeystoreError::LatchUnusable {
            path: file.to_owned(),
            reason: "it is empty, so which PINs the token refused is not known: delete it once the PIN at its source is right"
                .to_owned(),
        }),
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(unusable(file, &error)),
    }
}

fn unusable(file: &Path, error: &std::io::Error) -> KeystoreError {
    KeystoreError::LatchUnusable { path: file.to_owned(), reason: words(error) }
}

/// Returns `hex(salt) hex(hash)`; the token's serial number is part of the hash.
fn line(serial: &str, pin: &SecretString) -> std::io::Result<String> {
    let mut salt = [0; SALT];
    rand_bytes(&mut salt)?;
    Ok(format!("{} {}", const_hex::encode(salt), const_hex::encode(slow_hash(&salt, serial, pin)?)))
}

fn matches(file: &Path, line: &str, serial: &str, pin: &SecretString) -> Result<bool, KeystoreError> {
    // An unreadable line could be the PIN at hand, so no login is tried.
    let torn = || KeystoreError::LatchUnusable { path: file.to_owned(), reason: "a line is malformed".to_owned() };
    let (salt, hash) = line.split_once(' ').ok_or_else(torn)?;
    let salt = const_hex::decode(salt).map_err(|_| torn())?;
    let hash = const_hex::decode(hash).map_err(|_| torn())?;
    let ours = slow_hash(&salt, serial, pin).map_err(|error| unusable(file, &error))?;
    if hash.len() != ours.len() {
        return Err(torn());
    }
    Ok(ours.ct_eq(&hash).into())
}

fn slow_hash(salt: &[u8], serial: &str, pin: &SecretString) -> std::io::Result<[u8; 32]> {
    let salt = [salt, serial.as_bytes()].concat();
    let mut out = [0; 32];
    pbkdf2_hmac(pin.expose_secret().as_bytes(), &salt, ROUNDS, MessageDigest::sha256(), &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
