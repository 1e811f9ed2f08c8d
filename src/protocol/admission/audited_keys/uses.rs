//! Use of a key: its intent is recorded before the token is called, and its outcome before the caller receives the result.

use stationmaster_keystore::{KeystoreError, OaepScheme, SignScheme};
use zeroize::Zeroizing;

use super::{AuditedKeys, OnBehalf, in_force::Way, key_ref};
use crate::{
    audit::{AuditError, Entry, Event, Position},
    protocol::{
        admission::permitted_keys::{RawKey, TrainKey},
        context::{key_errors::KeyUseError, station_key::StationKey},
    },
};

/// Number of calls waiting for the token from which records may be batched: RSA-2048 takes about 0.6 ms each.
const CROWD: usize = 16;

/// A use of a key, as records describe it.
struct Use<'a> {
    way: Way,
    operation: &'static str,
    scheme: &'static str,
    /// The digest that is signed, or the SHA-256 of a signed message or of a wrapped key.
    digest: &'a [u8],
}

impl AuditedKeys {
    /// Signs a digest with the train signature scheme, using the station's key on the route of an admitted train.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn sign_for_train(&self, key: &TrainKey, asked: OnBehalf<'_>, digest: &[u8]) -> Result<Vec<u8>, KeyUseError> {
        self.sign_with(Way::Train, key.key(), asked, SignScheme::PssSha512MaxSalt, digest).await
    }

    /// Unwraps an envelope key of an admitted train.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn unwrap_for_train(
        &self,
        key: &TrainKey,
        asked: OnBehalf<'_>,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
        self.unwrap_with(Way::Train, key.key(), asked, OaepScheme::Sha512, wrapped).await
    }

    /// See [`Keystore::sign`].
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn sign_raw(
        &self,
        key: &RawKey,
        asked: OnBehalf<'_>,
        scheme: SignScheme,
        signed: &[u8],
    ) -> Result<Vec<u8>, KeyUseError> {
        self.sign_with(Way::Raw, key.key(), asked, scheme, signed).await
    }

    /// See [`Keystore::unwrap`].
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn unwrap_raw(
        &self,
        key: &RawKey,
        asked: OnBehalf<'_>,
        scheme: OaepScheme,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
        self.unwrap_with(Way::Raw, key.key(), asked, scheme, wrapped).await
    }

    async fn sign_with(
        &self,
        way: Way,
        key: &StationKey,
        asked: OnBehalf<'_>,
        scheme: SignScheme,
        signed: &[u8],
    ) -> Result<Vec<u8>, KeyUseError> {
        let of_message;
        let digest = if scheme.hash().is_some() {
            signed
        } else {
            of_message = openssl::sha::sha256(signed);
            &of_message
        };
        let announced = Use { way, operation: "sign", scheme: scheme.name(), digest };
        let keystore = self.keystore.on_behalf(asked.caller.principal());
        let using = keystore.sign(key.id(), scheme, signed, asked.deadline);
        self.recorded(asked, key, announced, using).await
    }

    async fn unwrap_with(
        &self,
        way: Way,
        key: &StationKey,
        asked: OnBehalf<'_>,
        scheme: OaepScheme,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
        let digest = openssl::sha::sha256(wrapped);
        let announced = Use { way, operation: "unwrap", scheme: scheme.name(), digest: &digest };
        let keystore = self.keystore.on_behalf(asked.caller.principal());
        let using = keystore.unwrap(key.id(), scheme, wrapped, asked.deadline);
        self.recorded(asked, key, announced, using).await
    }

    async fn recorded<T>(
        &self,
        OnBehalf { caller, about, deadline }: OnBehalf<'_>,
        meant: &StationKey,
        announced: Use<'_>,
        using: impl Future<Output = Result<T, KeystoreError>>,
    ) -> Result<T, KeyUseError> {
        // A key that was missing is read again and may be a different key by now: then it is not the requested one.
        let key = self.find(caller, meant.label(), deadline).await?;
        if key.id() != meant.id() {
            return Err(KeystoreError::KeyNotFound { label: key.description.label }.into());
        }
        self.check_in_force(&key, announced.way).await?;
        let entry = caller.entry(Event::KeyUse);
        let entry = Entry {
            run: about.run,
            train: about.train,
            key: Some(key_ref(&key)),
            operation: Some(announced.operation.to_owned()),
            scheme: Some(announced.scheme.to_owned()),
            digest: Some(const_hex::encode(announced.digest)),
            ..entry
        };
        // If the token is busy for longer than a record waits for others, batching costs no time.
        let crowded = self.keystore.waiting() >= CROWD;
        let intent = self.write(entry, crowded).await?;
        let outcome = using.await;
        let said = match &outcome {
            Ok(_) => Entry { outcome: Some("ok".to_owned()), ..caller.entry(Event::KeyUsed) },
            Err(error) => {
                Entry { outcome: Some("failed".to_owned()), detail: Some(error.to_string()), ..caller.entry(Event::KeyUsed) }
            }
        };
        self.write(Entry { of: Some(intent.seq), ..said }, crowded).await?;
        Ok(outcome?)
    }

    async fn write(&self, entry: Entry, crowded: bool) -> Result<Position, AuditError> {
        if crowded { self.audit.record_among_others(entry).await } else { self.audit.record_async(entry).await }
    }
}
