//! The key of the service's TLS certificate, when it is in a token: signs handshakes and nothing else, and no caller reaches it.
//!
//! A record for each handshake would let anyone who can connect grow the log. The change of the certificate is recorded with its key
//! before the key is used (`tls-changed`), handshakes are counted before the token is called, and each checkpoint signs their number.

use std::{sync::atomic::Ordering, time::Instant};

use stationmaster_keystore::{Capability, Keystore, KeystoreError, SignScheme};

use super::{AuditedKeys, key_ref};
use crate::{audit::KeyRef, protocol::context::station_key::StationKey};

/// The caller in the token's queue, where callers take turns: all handshakes together have the share of one.
const CALLER: &str = "tls";

/// The token's key that the configuration names for TLS, whichever key has the label at the moment.
#[derive(Clone)]
pub struct TlsKeyHolder {
    keys: AuditedKeys,
    keystore: Keystore,
    label: String,
}

/// One key of the token with the proof that it signs handshakes. Only [`TlsKeyHolder::key`] makes one:
///
/// ```compile_fail,E0451
/// fn forged(key: stationmaster::protocol::StationKey, of: stationmaster::protocol::TlsKeyHolder) -> stationmaster::protocol::TlsKey {
///     stationmaster::protocol::TlsKey { key, of }
/// }
/// ```
#[derive(Clone)]
pub struct TlsKey {
    key: StationKey,
    of: TlsKeyHolder,
}

impl AuditedKeys {
    /// Returns the holder of the key of the service's TLS certificate; `None` when the configuration names none in a token.
    #[must_use]
    pub fn tls_key(&self) -> Option<TlsKeyHolder> {
        let label = self.purposes.tls()?.to_owned();
        Some(TlsKeyHolder { keys: self.clone(), keystore: self.keystore.on_behalf(CALLER), label })
    }
}

impl TlsKeyHolder {
    /// Returns the label in the configuration.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the key that the token shows. Makes no call to the token.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`] when it is missing, and [`KeystoreError::KeyUnusable`] when the same key pair has another
    /// purpose under another label: a call by identity could then reach either.
    pub fn key(&self) -> Result<TlsKey, KeystoreError> {
        let key = self.keys.station_key(self.keystore.key(&self.label)?)?;
        let is_twin = |other: &StationKey| other.id() == key.id() && other.label() != key.label();
        if self.keys.keys().iter().any(is_twin) {
            let reason = "the same key pair is configured under another label, and the TLS key has no other purpose";
            return Err(KeystoreError::KeyUnusable { label: self.label.clone(), reason });
        }
        Ok(TlsKey { key, of: self.clone() })
    }

    /// Checks whether a token that responds has the key. Makes no call to the token.
    ///
    /// # Errors
    /// The error of the token, or [`KeystoreError::KeyNotFound`].
    pub fn check(&self) -> Result<(), KeystoreError> {
        let (with, without): (Vec<_>, Vec<_>) =
            self.keystore.tokens().into_iter().partition(|token| token.keys.contains(&self.label));
        if with.iter().any(|token| token.unavailable.is_none()) {
            return Ok(());
        }
        let away = with.into_iter().chain(without).find_map(|token| token.unavailable);
        Err(away.unwrap_or_else(|| KeystoreError::KeyNotFound { label: self.label.clone() }))
    }
}

impl TlsKey {
    /// Returns the key's name in the configuration.
    #[must_use]
    pub fn label(&self) -> &str {
        self.key.label()
    }

    /// Returns the public key: SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.key.description.spki_der
    }

    /// Returns the key's reference in records.
    #[must_use]
    pub fn reference(&self) -> KeyRef {
        key_ref(&self.key)
    }

    /// Returns whether the token's trial of the key has shown that it can sign with the scheme.
    #[must_use]
    pub fn can_sign(&self, scheme: SignScheme) -> bool {
        self.key.description.capabilities.get(scheme.name()).is_some_and(|can| *can != Capability::No)
    }

    /// Signs the digest of a handshake. See [`Keystore::sign`].
    ///
    /// # Errors
    /// Those of [`Keystore::sign`].
    pub async fn sign(&self, scheme: SignScheme, digest: &[u8], deadline: Instant) -> Result<Vec<u8>, KeystoreError> {
        // Before the call: a checkpoint that counts the call in the token counts it here, too.
        self.of.keys.tls_signatures.fetch_add(1, Ordering::Release);
        self.of.keystore.sign(self.key.id(), scheme, digest, Some(deadline)).await
    }
}
