//! Audited use of the station's private keys: the intent is on disk before the token is called, and the outcome before the
//! caller receives the result. There is no other access to the keys: the keystore is private to this module, and each use
//! requires a value that proves the permission: a [`TrainKey`] of an admitted train, or a [`RawKey`] that a caller names. Handshakes
//! of TLS are the exception: [`tls_key`] counts them, and checkpoints state their number.

pub mod tls_key;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use stationmaster_keystore::{
    KeyDescription, KeyUses, Keystore, KeystoreError, OaepScheme, SignScheme, TokenStatus, TrialLog, pin::PinSource,
};
use stationmaster_train::keys::spki_fingerprint;
use zeroize::Zeroizing;

use super::permitted_keys::{RawKey, TrainKey};
use crate::{
    audit::{Audit, AuditError, Covered, Entry, Event, KeyRef, Position, checkpoint},
    authz::Purpose,
    protocol::context::{
        call_context::CallContext,
        caller::Caller,
        key_errors::KeyUseError,
        station_key::{KeyPurposes, StationKey, checkpoint_scheme},
    },
};

/// The keys and the log of their use. Cheap to clone.
#[derive(Clone)]
pub struct AuditedKeys {
    keystore: Keystore,
    audit: Audit,
    purposes: KeyPurposes,
    /// Labels of train keys that may be used raw.
    raw_use: Arc<BTreeSet<String>>,
    /// Number of signatures of TLS handshakes that the token was asked for.
    tls_signatures: Arc<AtomicU64>,
}

/// Number of calls waiting for the token from which records may be batched: RSA-2048 takes about 0.6 ms each.
const CROWD: usize = 16;

/// A use of a key, as records describe it.
struct Use<'a> {
    operation: &'static str,
    scheme: &'static str,
    /// The digest that is signed, or the SHA-256 of a signed message or of a wrapped key.
    digest: &'a [u8],
}

/// The caller that a key is used for.
#[derive(Clone)]
pub struct OnBehalf<'a> {
    /// The caller.
    pub caller: &'a Caller,
    /// Facts for the records: run and train.
    pub about: Entry,
    /// The caller's deadline.
    pub deadline: Option<Instant>,
}

impl<'a> OnBehalf<'a> {
    /// Returns a caller that uses a key without a train.
    #[must_use]
    pub fn raw(caller: &'a Caller, deadline: Option<Instant>) -> Self {
        Self { caller, about: Entry::default(), deadline }
    }

    /// Returns the caller of a step, and the facts that are known so far.
    #[must_use]
    pub fn of(step: &'a CallContext<'_>) -> Self {
        Self { caller: &step.caller, about: step.annotations(), deadline: step.deadline }
    }
}

impl AuditedKeys {
    /// Combines the keys with their purposes and the log. Train keys named in `raw_use` may also be used without a train.
    #[must_use]
    pub fn new(keystore: Keystore, audit: Audit, purposes: KeyPurposes, raw_use: BTreeSet<String>) -> Self {
        keystore.announce_trials_to(Arc::new(TrialsInAudit { audit: audit.clone(), purposes: purposes.clone() }));
        Self { keystore, audit, purposes, raw_use: Arc::new(raw_use), tls_signatures: Arc::default() }
    }

    pub(super) fn raw_use(&self) -> &BTreeSet<String> {
        &self.raw_use
    }

    /// Returns the log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// See [`Keystore::keys`].
    #[must_use]
    pub fn keys(&self) -> Vec<StationKey> {
        self.keystore.keys().into_iter().filter_map(|key| self.purposes.key(key)).collect()
    }

    /// See [`Keystore::find`]. The key of the service's TLS certificate does not exist for callers.
    ///
    /// # Errors
    /// [`KeystoreError::KeyNotFound`], or an error of the token.
    pub async fn find(&self, caller: &Caller, label: &str, deadline: Option<Instant>) -> Result<StationKey, KeystoreError> {
        if self.purposes.get(label) == Some(Purpose::Tls) {
            return Err(KeystoreError::KeyNotFound { label: label.to_owned() });
        }
        self.station_key(self.keystore.on_behalf(caller.principal()).find(label, deadline).await?)
    }

    fn station_key(&self, key: KeyDescription) -> Result<StationKey, KeystoreError> {
        let label = key.label.clone();
        self.purposes.key(key).ok_or(KeystoreError::KeyNotFound { label })
    }

    /// Returns the labels of the configured keys of a purpose that the token does not show now.
    #[must_use]
    pub fn missing(&self, purpose: Purpose) -> Vec<String> {
        self.keystore.missing().into_iter().filter(|label| self.purposes.get(label) == Some(purpose)).collect()
    }

    /// See [`Keystore::check`]. Uses no key.
    ///
    /// # Errors
    /// An error of the token.
    pub async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        self.keystore.check(deadline).await
    }

    /// See [`Keystore::pin_sources`].
    #[must_use]
    pub fn pin_sources(&self) -> Vec<PinSource> {
        self.keystore.pin_sources()
    }

    /// See [`Keystore::tokens`].
    #[must_use]
    pub fn tokens(&self) -> Vec<TokenStatus> {
        self.keystore.tokens()
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

    /// Signs a digest with the train signature scheme, using the station's key on the route of an admitted train.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn sign_for_train(&self, key: &TrainKey, asked: OnBehalf<'_>, digest: &[u8]) -> Result<Vec<u8>, KeyUseError> {
        self.sign_with(key.key(), asked, SignScheme::PssSha512MaxSalt, digest).await
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
        self.unwrap_with(key.key(), asked, OaepScheme::Sha512, wrapped).await
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
        self.sign_with(key.key(), asked, scheme, signed).await
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
        self.unwrap_with(key.key(), asked, scheme, wrapped).await
    }

    async fn sign_with(
        &self,
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
        let announced = Use { operation: "sign", scheme: scheme.name(), digest };
        let keystore = self.keystore.on_behalf(asked.caller.principal());
        let using = keystore.sign(key.id(), scheme, signed, asked.deadline);
        self.recorded(asked, key, announced, using).await
    }

    async fn unwrap_with(
        &self,
        key: &StationKey,
        asked: OnBehalf<'_>,
        scheme: OaepScheme,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
        let digest = openssl::sha::sha256(wrapped);
        let announced = Use { operation: "unwrap", scheme: scheme.name(), digest: &digest };
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

    /// Signs a checkpoint of the log with the audit's own key. Returns what it covers.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn checkpoint(&self, label: &str, deadline: Option<Instant>) -> Result<Covered, KeyUseError> {
        let caller = Caller::service("checkpoint");
        let key = self.station_key(self.keystore.find(label, deadline).await?)?;
        let scheme = checkpoint_scheme(key.description.key_type).ok_or(KeystoreError::KeyUnusable {
            label: label.to_owned(),
            reason: "checkpoints are signed with RSA, EC P-256 or Ed25519",
        })?;
        // Read before the record is written: every use counted here is already announced in the log.
        let uses = self.keystore.key_uses();
        // Read after the token's count: it contains every handshake that is counted there.
        let of_tls = self.purposes.tls().map(|_| self.tls_signatures.load(Ordering::Acquire));
        let entry = Entry {
            key: Some(key_ref(&key)),
            operation: Some("checkpoint".to_owned()),
            scheme: Some(scheme.name().to_owned()),
            ..caller.entry(Event::KeyUse)
        };
        let covered = self.audit.begin_checkpoint(entry).await?;
        let origin = format!("stationmaster/{}", self.audit.origin());
        let text = checkpoint::text(&origin, &covered);
        let digest = checkpoint::digest(&text);
        let to_sign = if scheme.hash().is_some() { &digest[..] } else { text.as_bytes() };
        let signed = self.keystore.sign(key.id(), scheme, to_sign, deadline).await;
        let entry = match &signed {
            Ok(signature) => with_handshakes(Entry { outcome: Some("ok".to_owned()), ..caller.entry(Event::Checkpoint) }, of_tls)
                .with("size", covered.size)
                .with("token", token_uses(uses))
                .with("note", checkpoint::signed(&text, &origin, &key.description.spki_der, signature)),
            Err(error) => {
                Entry { outcome: Some("failed".to_owned()), detail: Some(error.to_string()), ..caller.entry(Event::KeyUsed) }
            }
        };
        self.audit.record_async(Entry { of: Some(covered.size), ..entry }).await?;
        signed?;
        Ok(covered)
    }
}

/// Returns the record of the keys that the token shows and of the number of uses so far.
#[must_use]
pub fn keys_found(keys: &[StationKey], uses: KeyUses) -> Entry {
    let keys: Vec<_> = keys.iter().map(key_ref).collect();
    Entry::of(Event::KeysFound).with("keys", serde_json::to_value(keys).unwrap_or_default()).with("token", token_uses(uses))
}

/// Records key tests that run during operation. Tests at startup lie between the start record and the first record of found
/// keys.
struct TrialsInAudit {
    audit: Audit,
    purposes: KeyPurposes,
}

impl TrialLog for TrialsInAudit {
    fn about_to_try(&self, key: &KeyDescription, most: KeyUses) -> Result<(), KeystoreError> {
        let key_ref = self.purposes.key(key.clone()).as_ref().map(key_ref);
        let announced = Entry { key: key_ref, ..Entry::of(Event::KeysTried) }
            .with("signatures", most.signatures)
            .with("decryptions", most.decryptions);
        self.audit.record(announced).map(drop).map_err(|error| {
            tracing::error!(key = key.label, %error, "the key is not tried, for that cannot be recorded");
            KeystoreError::Unavailable { reason: "a trial of the key cannot be recorded" }
        })
    }

    fn found(&self, keys: &[KeyDescription], uses: KeyUses) {
        let keys: Vec<_> = keys.iter().filter_map(|key| self.purposes.key(key.clone())).collect();
        if let Err(error) = self.audit.record(keys_found(&keys, uses)) {
            tracing::error!(%error, "which keys the token shows could not be recorded");
        }
    }
}

/// Returns the reference to a key in records.
fn key_ref(key: &StationKey) -> KeyRef {
    let KeyDescription { label, spki_der, .. } = &key.description;
    KeyRef { label: label.clone(), fingerprint: spki_fingerprint(spki_der), purpose: key.purpose.name().to_owned() }
}

/// Adds the number of signatures of TLS handshakes since the start, if their key is in the token.
fn with_handshakes(entry: Entry, signatures: Option<u64>) -> Entry {
    match signatures {
        Some(signatures) => entry.with("tls", serde_json::json!({ "signatures": signatures })),
        None => entry,
    }
}

/// Returns the token's own count in the form of records.
fn token_uses(uses: KeyUses) -> serde_json::Value {
    serde_json::json!({ "signatures": uses.signatures, "decryptions": uses.decryptions })
}
