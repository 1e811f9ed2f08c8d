//! The creator's private key: from a PEM file, or in a token.

use std::path::{Path, PathBuf};

use stationmaster_keystore::{
    KeyConfig, KeyDescription, KeyType, KeyUsage, Keystore, KeystoreConfig, KeystoreError, OaepScheme, Pkcs11Uri, TokenAccess,
    TokenSelector, UriError, pin, softhsm,
    software::{FileKey, FileKeyError},
};
use stationmaster_train::{config::HexText, envelope::EnvelopeKey, keys::PublicKey};

use crate::cli::{
    error::{CliError, Exit},
    key_file,
    key_file::ExpectedKind,
    module_crash,
    passphrase::{PIN_VARIABLE, passphrase},
};

/// Selects the creator's key.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct KeyArgs {
    /// The creator's private key: a PEM file, or pkcs11:token=…;object=…?module-path=…
    #[arg(long, value_name = "PEM|URI")]
    pub(super) key: String,
    /// A file with the token's PIN, or with the passphrase of the PEM
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

/// The creator's private key.
pub(super) enum CreatorKey {
    File(FileKey),
    /// A token, and the key in it.
    Token(Keystore, KeyDescription),
}

impl CreatorKey {
    /// Reads the file, or opens the token.
    pub(super) fn load(args: &KeyArgs) -> Result<Self, CliError> {
        match args.key.starts_with(Pkcs11Uri::SCHEME) {
            true => in_token(&args.key, args.pin_file.as_deref()),
            false => in_file(Path::new(&args.key), args.pin_file.as_deref()).map(Self::File),
        }
    }

    /// Returns its public half.
    pub(super) fn public(&self) -> Result<PublicKey, CliError> {
        let der = match self {
            Self::File(key) => key.spki_der().map_err(CliError::usage)?,
            Self::Token(_, key) => key.spki_der.clone(),
        };
        PublicKey::from_spki_der(&der).map_err(CliError::usage)
    }

    /// Unwraps a train's envelope key. The inner error describes the wrapped key; it is reported after other checks.
    pub(super) fn unwrap(&self, wrapped: &HexText) -> Result<Result<EnvelopeKey, String>, CliError> {
        const WRONG: &str = "the wrapped key cannot be unwrapped";
        let Ok(wrapped) = wrapped.decode() else { return Ok(Err("the wrapped key is not hex".to_owned())) };
        let bytes = match self {
            Self::File(key) => key.unwrap(&wrapped).map_err(|_| WRONG.to_owned()),
            Self::Token(keystore, key) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| CliError::other(format!("cannot start: {error}")))?;
                match runtime.block_on(keystore.unwrap(key.id, OaepScheme::Sha512, &wrapped, None)) {
                    Err(KeystoreError::UnwrapFailed) => Err(WRONG.to_owned()),
                    other => Ok(other?),
                }
            }
        };
        Ok(bytes.and_then(|bytes| {
            EnvelopeKey::from_unwrapped(&bytes).map_err(|_| "the unwrapped key has an invalid length".to_owned())
        }))
    }
}

impl Drop for CreatorKey {
    fn drop(&mut self) {
        if let Self::Token(keystore, _) = self {
            // A token's library may crash when the process ends during a call.
            let _ = keystore.close();
        }
    }
}

fn in_file(path: &Path, pin_file: Option<&Path>) -> Result<FileKey, CliError> {
    let pem = key_file::pem(path, ExpectedKind::PrivateKey)?;
    let passphrase = FileKey::is_encrypted(&pem).then(|| passphrase(pin_file, "--pin-file")).transpose()?;
    FileKey::from_pem(&pem, passphrase.as_ref()).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        match error {
            // Like a wrong PIN of a token.
            FileKeyError::WrongPassphrase => CliError::new(Exit::Permission, message),
            FileKeyError::NoPassphrase => CliError::usage(message).with_hint("name a file that contains it: --pin-file"),
            _ => CliError::usage(message).with_hint("a creator's key is an RSA key; `train inspect` shows its public half"),
        }
    })
}

fn in_token(uri: &str, pin_file: Option<&Path>) -> Result<CreatorKey, CliError> {
    let uri: Pkcs11Uri = uri.parse().map_err(|error: UriError| CliError::usage(error.to_string()))?;
    let Some(label) = uri.object.clone().filter(|_| uri.token.is_some() || uri.serial.is_some()) else {
        return Err(CliError::usage("pkcs11 URI: name the token and the key: pkcs11:token=LABEL;object=LABEL"));
    };
    let module = uri.module_path.clone().or_else(softhsm::find_module);
    let module = module.ok_or_else(|| CliError::usage("the URI names no module-path, and SoftHSM's was not found"))?;
    module_crash::guard(&[&module])?;
    let pin = pin::resolve(pin_file.or(uri.pin_file.as_deref()), Some(PIN_VARIABLE), None, true)?;
    let token = TokenSelector::of_uri(&uri);
    let config = KeystoreConfig {
        keys: vec![KeyConfig { label: label.clone(), id: uri.id, usage: KeyUsage::ALL }],
        // The padding is removed in this protected process, because many tokens do not support OAEP with SHA-512.
        allow_raw_unwrap: true,
        sessions: 1,
        ..KeystoreConfig::new(TokenAccess::new(module, token, pin))
    };
    let keystore = Keystore::open(config)?;
    let key = keystore.key(&label)?;
    if let Err(error) = key.check_type(OaepScheme::Sha512.name(), KeyType::Rsa) {
        let _ = keystore.close();
        return Err(CliError::from(error).with_hint("trains are opened with RSA keys"));
    }
    Ok(CreatorKey::Token(keystore, key))
}
