//! Enforcement of the states of train keys: at the admission of a train, and again at every use.

use std::sync::Arc;

use jiff::Timestamp;

use super::AuditedKeys;
use crate::{
    authz::Purpose,
    key_states::{KeyState, KeyStates, KeyStatesError},
    protocol::{
        admission::permitted_keys::TrainKey,
        context::{key_errors::KeyUseError, station_key::StationKey},
    },
    watched_file::Snapshot,
};

/// The way in which a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol::admission) enum Way {
    /// For a train whose own route entry names the key.
    Train,
    /// Without a train.
    Raw,
}

impl AuditedKeys {
    /// Returns the proof that the key of a train's own route entry may be used: its state allows it.
    ///
    /// # Errors
    /// [`KeyUseError::NotInForce`], or [`KeyUseError::States`].
    pub(in crate::protocol::admission) async fn train_key(&self, key: StationKey) -> Result<TrainKey, KeyUseError> {
        self.check_in_force(&key, Way::Train).await?;
        Ok(TrainKey::admitted(key))
    }

    /// Checks that the state of a key allows its use now. Only train keys have states.
    ///
    /// # Errors
    /// [`KeyUseError::NotInForce`], or [`KeyUseError::States`].
    pub(in crate::protocol::admission) async fn check_in_force(&self, key: &StationKey, way: Way) -> Result<(), KeyUseError> {
        if key.purpose != Purpose::Train {
            return Ok(());
        }
        let state = self.key_states().await?.value.state(key.label(), Timestamp::now());
        let is_allowed = match way {
            Way::Train => state.serves_trains(),
            Way::Raw => state == KeyState::Active,
        };
        if is_allowed { Ok(()) } else { Err(KeyUseError::NotInForce { label: key.label().to_owned(), state }) }
    }

    /// Returns the states of the train keys.
    ///
    /// # Errors
    /// When they are not known: then no train key is used.
    pub async fn key_states(&self) -> Result<Snapshot<KeyStates>, Arc<KeyStatesError>> {
        self.states.current().await.map_err(Arc::new)
    }
}
