//! Where the service's TLS key is: in a PEM file, or in a token.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de::Error};
use stationmaster_keystore::{Pkcs11Uri, TokenSelector};

use super::{
    Config,
    check::{Flaw, flaw},
};

const KEY: &str = "listen.tcp.key";

/// `[listen.tcp] key`: the private key of the service's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsKeySetting {
    /// A PEM file.
    File(PathBuf),
    /// A key in a token: `pkcs11:object=LABEL`.
    Token(Pkcs11Uri),
}

impl TlsKeySetting {
    /// Returns the file, if the key is in one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Token(_) => None,
        }
    }

    /// Returns the URI, if the key is in a token.
    #[must_use]
    pub fn uri(&self) -> Option<&Pkcs11Uri> {
        match self {
            Self::File(_) => None,
            Self::Token(uri) => Some(uri),
        }
    }

    /// Returns the key's label, if the key is in a token.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.uri().and_then(|uri| uri.object.as_deref())
    }

    /// Checks the URI of a key in a token: it names a key of a configured token, which has no other purpose.
    pub(super) fn check(&self, config: &Config) -> Result<(), Flaw> {
        let Some(uri) = self.uri() else { return Ok(()) };
        let hint = "write `key = \"pkcs11:object=LABEL\"`, with token= or serial= if only one of several tokens has it";
        let Some(label) = uri.object.as_deref().filter(|label| !label.is_empty()) else {
            return Err(flaw(KEY, "names no key", hint));
        };
        if uri.module_path.is_some() || uri.pin_file.is_some() {
            return Err(flaw(KEY, "names a module or a PIN", "module and PIN are settings of [token]"));
        }
        let of_token = TokenSelector::of_uri(uri);
        if !config.tokens.all().iter().any(|token| token.may_have(uri)) {
            return Err(flaw(KEY, format!("no token {of_token} is configured"), hint));
        }
        let keys = &config.keys;
        let of_others =
            [("train", &keys.train[..]), ("general", &keys.general[..]), ("audit", std::slice::from_ref(&config.audit.key))];
        if let Some((purpose, _)) = of_others.iter().find(|(_, labels)| labels.iter().any(|named| named == label)) {
            return Err(flaw(
                KEY,
                format!("{label:?} is also configured as {purpose} key"),
                "a key has exactly one purpose: `key generate LABEL --purpose tls`",
            ));
        }
        Ok(())
    }
}

impl From<PathBuf> for TlsKeySetting {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl<'de> Deserialize<'de> for TlsKeySetting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text.starts_with(Pkcs11Uri::SCHEME) {
            return text.parse().map(Self::Token).map_err(D::Error::custom);
        }
        Ok(Self::File(text.into()))
    }
}
