//! The station's private keys, none of which is used unrecorded: the intent is on the disk before the token is asked, what became
//! of it before anybody has the answer. There is no other way to them: the keystore is private here.

use std::time::Instant;

use zeroize::Zeroizing;

use super::Caller;
use crate::{
    audit::{Audit, AuditError, Covered, Entry, Event, KeyRef, Position, checkpoint},
    keystore::{Hash, KeyInfo, KeyUses, Keystore, KeystoreError, OaepScheme, SignScheme},
    train::keys::spki_fingerprint,
};

/// Why a key was not used, or nobody may have the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyUseError {
    /// The keystore's error.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// It could not be recorded. Retry when the audit can be written again.
    #[error("the key's use cannot be recorded: {0}")]
    Audit(#[from] AuditError),
}

/// Keys and the log of their use. Cheap to clone.
#[derive(Clone)]
pub struct AuditedKeys {
    keystore: Keystore,
    audit: Audit,
}

/// Calls waiting for the token from which on records may wait for each other: RSA-2048 takes some 0.6 ms each.
const CROWD: usize = 16;

/// How a key is used, as records say it.
struct Use<'a> {
    operation: &'static str,
    scheme: &'static str,
    /// What is signed; of a wrapped key, its SHA-256.
    digest: &'a [u8],
}

impl AuditedKeys {
    /// Puts the log before the keys.
    #[must_use]
    pub fn new(keystore: Keystore, audit: Audit) -> Self {
        Self { keystore, audit }
    }

    /// The log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// See [`Keystore::keys`].
    #[must_use]
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.keystore.keys()
    }

    /// See [`Keystore::key`].
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`].
    pub fn key(&self, label: &str) -> Result<KeyInfo, KeystoreError> {
        self.keystore.key(label)
    }

    /// See [`Keystore::check`]. Uses no key.
    ///
    /// # Errors
    /// What the token answers.
    pub async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        self.keystore.check(deadline).await
    }

    /// See [`Keystore::key_uses`].
    #[must_use]
    pub fn key_uses(&self) -> KeyUses {
        self.keystore.key_uses()
    }

    /// See [`Keystore::close`].
    pub fn close(&self) {
        self.keystore.close();
    }

    /// See [`Keystore::sign`]. `about` is what the records say of the train.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn sign(
        &self,
        (caller, about): (&Caller, Entry),
        label: &str,
        scheme: SignScheme,
        digest: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, KeyUseError> {
        let announced = Use { operation: "sign", scheme: scheme.name(), digest };
        self.recorded((caller, about), label, announced, self.keystore.sign(label, scheme, digest, deadline)).await
    }

    /// See [`Keystore::unwrap`].
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn unwrap(
        &self,
        (caller, about): (&Caller, Entry),
        label: &str,
        scheme: OaepScheme,
        wrapped: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
        let digest = openssl::sha::sha256(wrapped);
        let announced = Use { operation: "unwrap", scheme: scheme.name(), digest: &digest };
        self.recorded((caller, about), label, announced, self.keystore.unwrap(label, scheme, wrapped, deadline)).await
    }

    async fn recorded<T>(
        &self,
        (caller, about): (&Caller, Entry),
        label: &str,
        announced: Use<'_>,
        using: impl Future<Output = Result<T, KeystoreError>>,
    ) -> Result<T, KeyUseError> {
        let key = self.keystore.key(label)?;
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
        // Where the token has work for longer than a record waits for others, waiting costs nothing.
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

    /// Signs a checkpoint of the log with the audit's own key. Answers what it covers.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn checkpoint(&self, label: &str, deadline: Option<Instant>) -> Result<Covered, KeyUseError> {
        const SCHEME: SignScheme = SignScheme::Pss(Hash::Sha256);
        let caller = Caller::service("checkpoint");
        let key = self.keystore.key(label)?;
        // Before the record: a use that is counted here was announced there.
        let uses = self.keystore.key_uses();
        let entry = Entry {
            key: Some(key_ref(&key)),
            operation: Some("checkpoint".to_owned()),
            scheme: Some(SCHEME.name().to_owned()),
            ..caller.entry(Event::KeyUse)
        };
        let covered = self.audit.begin_checkpoint(entry).await?;
        let origin = format!("stationmaster/{}", self.audit.origin());
        let text = checkpoint::text(&origin, &covered);
        let signed = self.keystore.sign(label, SCHEME, &checkpoint::digest(&text), deadline).await;
        let entry = match &signed {
            Ok(signature) => Entry { outcome: Some("ok".to_owned()), ..caller.entry(Event::Checkpoint) }
                .with("size", covered.size)
                .with("token", token_uses(uses))
                .with("note", checkpoint::signed(&text, &origin, &key.spki_der, signature)),
            Err(error) => {
                Entry { outcome: Some("failed".to_owned()), detail: Some(error.to_string()), ..caller.entry(Event::KeyUsed) }
            }
        };
        self.audit.record_async(Entry { of: Some(covered.size), ..entry }).await?;
        signed?;
        Ok(covered)
    }
}

/// A key as records name it.
#[must_use]
pub fn key_ref(key: &KeyInfo) -> KeyRef {
    KeyRef { label: key.label.clone(), fingerprint: spki_fingerprint(&key.spki_der), purpose: key.purpose.name().to_owned() }
}

/// The token's own count, as records have it.
#[must_use]
pub fn token_uses(uses: KeyUses) -> serde_json::Value {
    serde_json::json!({ "signatures": uses.signatures, "decryptions": uses.decryptions })
}
