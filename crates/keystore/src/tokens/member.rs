//! One token of a keystore: opened when it appears, and used through its pool of sessions.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::TokenStatus;
use crate::{
    KeyDescription, KeyId, KeyUses, KeystoreConfig, KeystoreError, TrialLog, backend::Backend, identities::Identities,
    operation::Operation, pin::PinSource, pkcs11::Needed, trial_log::Trials,
};

/// One token of a keystore.
pub(crate) struct Member {
    config: KeystoreConfig,
    state: RwLock<State>,
    trials: Trials,
    /// Shared by all tokens of the keystore.
    identities: Identities,
    /// Number of calls in progress.
    outstanding: AtomicUsize,
    /// Number of calls so far: distributes calls among idle tokens.
    served: AtomicU64,
}

enum State {
    /// The token was found and its keys probed; it may be away at the moment.
    Open(Arc<Backend>),
    /// The token could not be opened so far.
    Away(KeystoreError),
    Closed,
}

/// A call in progress, for the load of its token.
pub(crate) struct InProgress<'a>(&'a Member);

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Member {
    pub(super) fn new(config: KeystoreConfig, identities: Identities) -> Self {
        Self {
            config,
            state: RwLock::new(State::Away(KeystoreError::Unavailable { reason: "the token has not been opened yet" })),
            trials: Trials::default(),
            identities,
            outstanding: AtomicUsize::new(0),
            served: AtomicU64::new(0),
        }
    }

    /// Returns the token's name in the configuration: its label, else its serial number.
    pub(crate) fn name(&self) -> &str {
        self.config.access.token.name()
    }

    pub(super) fn is_standby(&self) -> bool {
        self.config.standby
    }

    pub(crate) fn pin_source(&self) -> PinSource {
        self.config.access.pin.clone()
    }

    /// Returns the labels that are looked for on this token.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        self.config.keys.iter().map(|key| key.label.as_str())
    }

    /// Returns how busy the token is for its weight, then how much it has done.
    pub(super) fn load(&self) -> (u64, u64) {
        // Scaled, so that a division by the weight keeps differences of one call.
        let weighted = |count: u64| count.saturating_mul(1 << 16) / u64::from(self.config.weight.max(1));
        (weighted(self.outstanding.load(Ordering::Relaxed) as u64), weighted(self.served.load(Ordering::Relaxed)))
    }

    /// Counts a call until the value is dropped.
    pub(crate) fn begin(&self) -> InProgress<'_> {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
        InProgress(self)
    }

    #[cfg(test)]
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Returns the opened token.
    pub(crate) fn backend(&self) -> Result<Arc<Backend>, KeystoreError> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(backend) => Ok(Arc::clone(backend)),
            State::Away(error) => Err(error.clone()),
            State::Closed => Err(KeystoreError::Unavailable { reason: "the keystore is closing" }),
        }
    }

    /// Opens the token, unless it is open or closed.
    pub(super) fn open(&self, needed: Needed) -> Result<(), KeystoreError> {
        if matches!(*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Open(_) | State::Closed) {
            return Ok(());
        }
        let opened = Backend::open(&self.config, needed, &self.trials, &self.identities).map(Arc::new);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match opened {
            Ok(backend) if !matches!(*state, State::Closed) => {
                if let Some(log) = self.trials.get() {
                    backend.announce_trials_to(log);
                }
                *state = State::Open(backend);
                Ok(())
            }
            // Dropping it closes it.
            Ok(_) => Ok(()),
            Err(error) => {
                *state = State::Away(error.clone());
                Err(error)
            }
        }
    }

    /// Returns the keys that the token showed last.
    pub(crate) fn keys(&self) -> Vec<KeyDescription> {
        self.backend().map_or_else(|_| Vec::new(), |backend| backend.keys())
    }

    /// Returns the identities of the keys that the token showed last, also of those that are missing now.
    pub(crate) fn last_shown(&self) -> Vec<KeyId> {
        self.backend().map_or_else(|_| Vec::new(), |backend| backend.last_shown())
    }

    /// Returns whether the token answers and has the key.
    pub(crate) fn serves(&self, id: KeyId) -> bool {
        self.backend().is_ok_and(|backend| backend.serves(id))
    }

    /// Returns whether the token answers.
    pub(crate) fn ready(&self) -> Result<(), KeystoreError> {
        self.backend()?.ready()
    }

    /// Reports that a key may be used once more than its call's record announces. The log waits for the disk, on a thread that may.
    pub(crate) async fn announce_use(&self, id: KeyId, operation: Operation<'_>) -> Result<(), KeystoreError> {
        let most = match operation {
            Operation::Sign { .. } => KeyUses { signatures: 1, decryptions: 0 },
            Operation::Unwrap { .. } => KeyUses { signatures: 0, decryptions: 1 },
        };
        match (self.trials.get(), self.keys().into_iter().find(|key| key.id == id)) {
            (Some(log), Some(key)) => {
                let log = Arc::clone(log);
                let announced = tokio::task::spawn_blocking(move || log.about_to_try(&key, most)).await;
                announced.unwrap_or(Err(KeystoreError::Unavailable { reason: "a further use of the key cannot be recorded" }))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn announce_trials_to(&self, log: &Arc<dyn TrialLog>) {
        let _ = self.trials.set(Arc::clone(log));
        if let Ok(backend) = self.backend() {
            backend.announce_trials_to(log);
        }
    }

    pub(super) fn close(&self) -> bool {
        let state = std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), State::Closed);
        match state {
            State::Open(backend) => backend.close(),
            State::Away(_) | State::Closed => true,
        }
    }

    pub(crate) fn status(&self) -> TokenStatus {
        let backend = self.backend();
        let opened = backend.as_ref().ok();
        TokenStatus {
            name: self.name().to_owned(),
            uri: opened.map(|backend| backend.uri()),
            module: self.config.access.module.path.clone(),
            standby: self.config.standby,
            weight: self.config.weight,
            unavailable: self.ready().err(),
            sessions: self.config.session_count(),
            hung: opened.map_or(0, |backend| backend.hung()),
            waiting: opened.map_or(0, |backend| backend.waiting()),
            isolated: self.config.isolation.is_some(),
            keys: self.keys().into_iter().map(|key| key.label).collect(),
        }
    }
}
