//! The station's private keys, none of which is used unrecorded: the intent is on the disk before the token is asked, what became
//! of it before anybody has the answer. There is no other way to them: the keystore is private here, and each use asks for a value
//! that shows who may: an [`AdmittedTrain`] for a train key, a [`RawKey`] for one that a caller names.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use zeroize::Zeroizing;

use crate::{
    audit::{Audit, AuditError, Covered, Entry, Event, KeyRef, Position, checkpoint},
    keystore::{Hash, KeyInfo, KeyUses, Keystore, KeystoreError, OaepScheme, Purpose, SignScheme, TrialLog},
    protocol::{AdmittedTrain, Caller, RawKey},
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
    /// Labels of train keys that may be used raw.
    raw_use: Arc<BTreeSet<String>>,
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
    /// Puts the log before the keys. Of the train keys those named in `raw_use` may also be used without a train.
    #[must_use]
    pub fn new(keystore: Keystore, audit: Audit, raw_use: BTreeSet<String>) -> Self {
        keystore.announce_trials_to(Arc::new(TrialsInAudit(audit.clone())));
        Self { keystore, audit, raw_use: Arc::new(raw_use) }
    }

    pub(in crate::protocol) fn raw_use(&self) -> &BTreeSet<String> {
        &self.raw_use
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

    /// See [`Keystore::find`].
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`], or that the token cannot be asked.
    pub async fn find(&self, caller: &Caller, label: &str, deadline: Option<Instant>) -> Result<KeyInfo, KeystoreError> {
        self.keystore.on_behalf(caller.principal()).find(label, deadline).await
    }

    /// Labels of the configured keys of a purpose that the token does not show now.
    #[must_use]
    pub fn missing(&self, purpose: Purpose) -> Vec<String> {
        self.keystore.missing(purpose)
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

    /// See [`Keystore::give_up`].
    pub fn give_up(&self) {
        self.keystore.give_up();
    }

    /// See [`Keystore::close`].
    #[must_use]
    pub fn close(&self) -> bool {
        self.keystore.close()
    }

    /// Signs a digest as trains are signed, with the station's key on the route of a train that was admitted. `about` is what the
    /// records say of the train.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn sign_for_train(
        &self,
        train: &AdmittedTrain,
        (caller, about): (&Caller, Entry),
        digest: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, KeyUseError> {
        self.sign_with(train.key(), (caller, about), SignScheme::PssSha512MaxSalt, digest, deadline).await
    }

    /// Unwraps an envelope key of a train that was admitted.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn unwrap_for_train(
        &self,
        train: &AdmittedTrain,
        (caller, about): (&Caller, Entry),
        wrapped: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
        self.unwrap_with(train.key(), (caller, about), OaepScheme::Sha512, wrapped, deadline).await
    }

    /// See [`Keystore::sign`].
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn sign_raw(
        &self,
        key: &RawKey,
        caller: &Caller,
        scheme: SignScheme,
        digest: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, KeyUseError> {
        self.sign_with(key.info(), (caller, Entry::default()), scheme, digest, deadline).await
    }

    /// See [`Keystore::unwrap`].
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn unwrap_raw(
        &self,
        key: &RawKey,
        caller: &Caller,
        scheme: OaepScheme,
        wrapped: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
        self.unwrap_with(key.info(), (caller, Entry::default()), scheme, wrapped, deadline).await
    }

    async fn sign_with(
        &self,
        key: &KeyInfo,
        asked: (&Caller, Entry),
        scheme: SignScheme,
        digest: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, KeyUseError> {
        let announced = Use { operation: "sign", scheme: scheme.name(), digest };
        let keystore = self.keystore.on_behalf(asked.0.principal());
        self.recorded(asked, key, announced, keystore.sign(&key.label, scheme, digest, deadline), deadline).await
    }

    async fn unwrap_with(
        &self,
        key: &KeyInfo,
        asked: (&Caller, Entry),
        scheme: OaepScheme,
        wrapped: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
        let digest = openssl::sha::sha256(wrapped);
        let announced = Use { operation: "unwrap", scheme: scheme.name(), digest: &digest };
        let keystore = self.keystore.on_behalf(asked.0.principal());
        self.recorded(asked, key, announced, keystore.unwrap(&key.label, scheme, wrapped, deadline), deadline).await
    }

    async fn recorded<T>(
        &self,
        (caller, about): (&Caller, Entry),
        meant: &KeyInfo,
        announced: Use<'_>,
        using: impl Future<Output = Result<T, KeystoreError>>,
        deadline: Option<Instant>,
    ) -> Result<T, KeyUseError> {
        // A key that was away is read anew, and may be another one by now: then it is not the one that was asked for.
        let key = self.find(caller, &meant.label, deadline).await?;
        if key.spki_der != meant.spki_der {
            return Err(KeystoreError::KeyNotFound { label: key.label }.into());
        }
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
        let key = self.keystore.find(label, deadline).await?;
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

/// The record that says which keys the token shows, and how often it was asked to use them so far.
#[must_use]
pub fn keys_found(keys: &[KeyInfo], uses: KeyUses) -> Entry {
    let keys: Vec<_> = keys.iter().map(key_ref).collect();
    Entry::of(Event::KeysFound).with("keys", serde_json::to_value(keys).unwrap_or_default()).with("token", token_uses(uses))
}

/// Trials of keys that are made while the service runs. Those of the start are between its record and the first that says which
/// keys were found.
struct TrialsInAudit(Audit);

impl TrialLog for TrialsInAudit {
    fn about_to_try(&self, key: &KeyInfo, most: KeyUses) -> Result<(), KeystoreError> {
        let announced = Entry { key: Some(key_ref(key)), ..Entry::of(Event::KeysTried) }
            .with("signatures", most.signatures)
            .with("decryptions", most.decryptions);
        self.0.record(announced).map(drop).map_err(|error| {
            tracing::error!(key = key.label, %error, "the key is not tried, for that cannot be recorded");
            KeystoreError::Unavailable { reason: "a trial of the key cannot be recorded" }
        })
    }

    fn found(&self, keys: &[KeyInfo], uses: KeyUses) {
        if let Err(error) = self.0.record(keys_found(keys, uses)) {
            tracing::error!(%error, "which keys the token shows could not be recorded");
        }
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
