//! What carries out the operations of one token: its library in this process, or a process of its own.

use std::{sync::Arc, time::Instant};

use crate::{
    KeyDescription, KeyId, KeyUses, KeystoreConfig, KeystoreError, Pkcs11Uri, TrialLog,
    identities::Identities,
    isolated::Isolated,
    operation::{Operation, Outcome},
    pkcs11::{Needed, Pool},
    trial_log::Trials,
};

/// An opened token.
pub(crate) enum Backend {
    /// The module is loaded into this process.
    InProcess(Arc<Pool>),
    /// The module is loaded into a process of its own.
    Isolated(Isolated),
}

impl Backend {
    /// Opens the token. Blocks.
    pub(crate) fn open(
        config: &KeystoreConfig,
        needed: Needed,
        trials: &Trials,
        identities: &Identities,
    ) -> Result<Self, KeystoreError> {
        Ok(match &config.isolation {
            None => Self::InProcess(Arc::new(Pool::open(config, needed, trials.get(), identities)?)),
            Some(isolation) => Self::Isolated(Isolated::open(config, isolation, needed, trials, identities)?),
        })
    }

    /// Carries out an operation with the key of this identity.
    pub(crate) async fn carry_out(
        &self,
        caller: &Arc<str>,
        id: KeyId,
        operation: Operation<'_>,
        deadline: Option<Instant>,
    ) -> Outcome {
        match self {
            Self::InProcess(pool) => pool.carry_out(caller, id, operation, deadline).await,
            Self::Isolated(token) => token.carry_out(caller, id, operation, deadline).await,
        }
    }

    /// Returns the key with this label; reads it again from the token if it was missing.
    pub(crate) async fn find(
        &self,
        caller: &Arc<str>,
        label: &str,
        deadline: Option<Instant>,
    ) -> Result<KeyDescription, KeystoreError> {
        match self {
            Self::InProcess(pool) => pool.find(caller, label, deadline).await.map(|key| key.description()),
            Self::Isolated(token) => token.find(caller, label, deadline).await,
        }
    }

    /// Checks the token without using a key.
    pub(crate) async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        match self {
            Self::InProcess(pool) => pool.check(deadline).await,
            Self::Isolated(token) => token.check(deadline).await,
        }
    }

    /// Checks that calls may go to the token, as it was seen last.
    pub(crate) fn ready(&self) -> Result<(), KeystoreError> {
        match self {
            Self::InProcess(pool) => pool.state().ready(),
            Self::Isolated(token) => token.seen().ready,
        }
    }

    /// Returns the keys that the token showed last.
    pub(crate) fn keys(&self) -> Vec<KeyDescription> {
        match self {
            Self::InProcess(pool) => pool.state().keys.present().iter().map(|key| key.description()).collect(),
            Self::Isolated(token) => token.seen().keys,
        }
    }

    /// Returns whether the token answers and has the key.
    pub(crate) fn serves(&self, id: KeyId) -> bool {
        match self {
            Self::InProcess(pool) => pool.state().ready().is_ok() && !pool.state().keys.with_id(id).is_empty(),
            Self::Isolated(token) => token.serves(id),
        }
    }

    /// Returns the identities of the keys that the token showed last, also of those that are missing now.
    pub(crate) fn last_shown(&self) -> Vec<KeyId> {
        match self {
            Self::InProcess(pool) => pool.state().keys.last_shown(),
            Self::Isolated(token) => token.seen().last_shown,
        }
    }

    /// Returns the token's URI.
    pub(crate) fn uri(&self) -> Pkcs11Uri {
        match self {
            Self::InProcess(pool) => pool.state().token.uri().clone(),
            Self::Isolated(token) => token.seen().uri,
        }
    }

    /// Returns the number of key uses so far.
    pub(crate) fn uses(&self) -> KeyUses {
        match self {
            Self::InProcess(pool) => pool.state().counters.uses(),
            Self::Isolated(token) => token.uses(),
        }
    }

    /// Returns the number of calls that hang in the module.
    pub(crate) fn hung(&self) -> usize {
        match self {
            Self::InProcess(pool) => pool.state().hung(),
            Self::Isolated(token) => token.seen().hung,
        }
    }

    /// Returns the number of waiting calls.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Self::InProcess(pool) => pool.waiting(),
            Self::Isolated(token) => token.waiting(),
        }
    }

    pub(crate) fn announce_trials_to(&self, log: &Arc<dyn TrialLog>) {
        if let Self::InProcess(pool) = self {
            pool.state().announce_trials_to(Arc::clone(log));
        }
        // An isolated token asks for the log at each trial.
    }

    /// See [`Keystore::give_up`](crate::Keystore::give_up).
    pub(crate) fn give_up(&self) {
        match self {
            Self::InProcess(pool) => pool.give_up(),
            Self::Isolated(token) => token.give_up(),
        }
    }

    /// See [`Keystore::close`](crate::Keystore::close).
    pub(crate) fn close(&self) -> bool {
        match self {
            Self::InProcess(pool) => pool.close(),
            Self::Isolated(token) => {
                token.close();
                true
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn in_process(&self) -> Option<Arc<Pool>> {
        match self {
            Self::InProcess(pool) => Some(Arc::clone(pool)),
            Self::Isolated(_) => None,
        }
    }
}
