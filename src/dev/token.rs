//! Creates the private software token of a development station: `DIR/softhsm`, its PIN in `DIR/pin`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use stationmaster_keystore::{NewKey, TokenAccess, TokenSelector, admin, pin, softhsm};
use stationmaster_system::files::{Directory, make_directory};
use zeroize::Zeroizing;

use super::{DevError, trouble};
use crate::{authz::Purpose, protocol::key_usage};

/// The token's label.
pub(super) const LABEL: &str = "stationmaster-dev";
/// The general key's size.
const GENERAL_BITS: u32 = 2048;

/// The label of the key that signs the audit's checkpoints.
pub const AUDIT: &str = "audit";

/// The general key's label.
pub(super) fn general_label(station: &str) -> String {
    format!("{station}-general")
}

/// The token of a development station.
#[derive(Debug, Clone)]
pub struct DevToken {
    /// SoftHSM's module.
    pub module: PathBuf,
    /// The file with the PIN.
    pub pin_file: PathBuf,
}

impl DevToken {
    /// Returns whether the directory contains a development station's token.
    #[must_use]
    pub fn is_in(directory: &Path) -> bool {
        directory.join("softhsm/made").exists()
    }

    /// Selects the token of `directory` for this process; creates it if it does not exist.
    ///
    /// # Errors
    /// When SoftHSM is missing, or the token cannot be created.
    ///
    /// # Safety
    /// Sets an environment variable: no other thread may run yet.
    #[expect(unsafe_code, reason = "changes the environment, which its caller makes safe")]
    pub unsafe fn open(directory: &Path) -> Result<Self, DevError> {
        let module = softhsm::find_module().ok_or(DevError::NoSoftHsm)?;
        let softhsm_directory = directory.join("softhsm");
        let conf =
            softhsm::write_conf(&softhsm_directory).map_err(trouble("write SoftHSM's configuration in", &softhsm_directory))?;
        // SAFETY: by contract no other thread runs; SoftHSM reads the variable later, when it is loaded.
        unsafe { std::env::set_var(softhsm::CONF_VARIABLE, conf) };
        let token = Self { module, pin_file: directory.join("pin") };
        // The marker is written last: after an interrupted start the token is created again, with a new PIN, before it has any key.
        let made = softhsm_directory.join("made");
        if !made.exists() {
            token.create(&softhsm_directory)?;
            Directory::open(&softhsm_directory)
                .and_then(|softhsm_directory| softhsm_directory.replace("made", 0o600, b""))
                .map_err(trouble("write", &made))?;
        }
        Ok(token)
    }

    fn create(&self, softhsm_directory: &Path) -> Result<(), DevError> {
        let tokens = softhsm_directory.join("tokens");
        match fs::remove_dir_all(&tokens) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(trouble("clear", &tokens)(error));
            }
            _ => make_directory(&tokens).map_err(trouble("create", &tokens))?,
        }
        let user = random_pin()?;
        write_secret(&self.pin_file, &user).map_err(trouble("write", &self.pin_file))?;
        // The SO PIN of this token is not needed again.
        let so_pin = SecretString::from(random_pin()?.as_str());
        admin::init_token(&self.module.clone().into(), LABEL, &so_pin, &SecretString::from(user.as_str()))?;
        Ok(())
    }

    /// Returns the login of the token.
    ///
    /// # Errors
    /// When its PIN cannot be read.
    pub fn access(&self) -> Result<TokenAccess, DevError> {
        let pin = pin::resolve(Some(&self.pin_file), None, None, false)?;
        Ok(TokenAccess {
            pin_latch: Some(self.pin_file.with_file_name("pin-latch")),
            ..TokenAccess::new(self.module.clone(), TokenSelector::label(LABEL), pin)
        })
    }

    /// Generates missing keys of the station.
    ///
    /// # Errors
    /// When the token fails.
    pub fn ensure(&self, station: &str, bits: u32) -> Result<(), DevError> {
        let access = self.access()?;
        let existing = admin::contents(&access)?.keys;
        let wanted = [
            (station.to_owned(), Purpose::Train, bits),
            (general_label(station), Purpose::General, GENERAL_BITS),
            (AUDIT.to_owned(), Purpose::Audit, GENERAL_BITS),
        ];
        for (label, purpose, bits) in wanted {
            if !existing.iter().any(|key| key.label == label) {
                admin::generate_key(&access, &label, key_usage(purpose), NewKey::Rsa { bits })?;
            }
        }
        Ok(())
    }
}

fn random_pin() -> Result<Zeroizing<String>, DevError> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    openssl::rand::rand_bytes(&mut *bytes).map_err(|error| DevError::Pki(format!("no randomness: {error}")))?;
    Ok(Zeroizing::new(const_hex::encode(&bytes[..])))
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    // A new file, because an existing one may have another mode.
    let (directory, name) = Directory::of_file(path)?;
    directory.replace(name, 0o600, &Zeroizing::new(format!("{text}\n").into_bytes()))
}
