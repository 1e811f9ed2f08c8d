//! Audited use of the station's private keys: the intent is on disk before the token is called, and the outcome before the
//! caller receives the result. There is no other access to the keys: the keystore is private to this module, and each use
//! requires a value that proves the permission: a [`TrainKey`](super::permitted_keys::TrainKey) of an admitted train, or a
//! [`RawKey`](super::permitted_keys::RawKey) that a caller names. A train key is used only as far as its state allows. Handshakes of TLS
//! are the exception: [`tls_key`] counts them, and checkpoints state their number.

mod checkpoints;
pub(super) mod in_force;
pub mod tls_key;
mod trials;
mod uses;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

use stationmaster_keystore::{KeyDescription, KeyUses, Keystore, KeystoreError, TokenStatus, pin::PinSource};
use stationmaster_train::keys::spki_fingerprint;

use self::trials::TrialsInAudit;
pub use self::trials::keys_found;
use crate::{
    audit::{Audit, Entry, KeyRef},
    authz::Purpose,
    key_states::KeyStatesInForce,
    protocol::context::{
        call_context::CallContext,
        caller::Caller,
        station_key::{KeyPurposes, StationKey},
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
    states: Arc<KeyStatesInForce>,
    /// Number of signatures of TLS handshakes that the token was asked for.
    tls_signatures: Arc<AtomicU64>,
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
    /// Combines the keys with their purposes, the states of train keys, and the log. Train keys named in `raw_use` may also be used
    /// without a train.
    #[must_use]
    pub fn new(
        keystore: Keystore,
        audit: Audit,
        purposes: KeyPurposes,
        raw_use: BTreeSet<String>,
        states: KeyStatesInForce,
    ) -> Self {
        keystore.announce_trials_to(Arc::new(TrialsInAudit { audit: audit.clone(), purposes: purposes.clone() }));
        Self { keystore, audit, purposes, raw_use: Arc::new(raw_use), states: Arc::new(states), tls_signatures: Arc::default() }
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
}

/// Returns the reference to a key in records.
fn key_ref(key: &StationKey) -> KeyRef {
    let KeyDescription { label, spki_der, .. } = &key.description;
    KeyRef { label: label.clone(), fingerprint: spki_fingerprint(spki_der), purpose: key.purpose.name().to_owned() }
}
