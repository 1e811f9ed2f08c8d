//! Session binding: compares the unsigned statements of a train with those recorded when its session was first opened here.
//!
//! Format 1 signs the session, but neither `@id` (which grants name) nor the route's indices (by which the ledger keeps runs). A
//! writer to the registry can change both. So a session is bound once its train has been verified, and a train with the same
//! session and another `@id`, creator or stop is refused.

use stationmaster_train::{config::TrainConfig, keys::PublicKey, route::StopIndex};

use super::station::Station;
use crate::{
    ledger::{Session, SessionCreator},
    protocol::context::error::StepError,
};

impl Station {
    /// Refuses a train whose session was opened here with another train, another creator, or at another stop.
    pub(in crate::protocol) fn check_session(
        &self,
        config: &TrainConfig,
        session_id: &[u8],
        stop: StopIndex,
    ) -> Result<(), StepError> {
        match self.ledger.session(&self.id, session_id)? {
            Some(known) => self.compare(&known, &stated(config, stop), session_id),
            None => Ok(()),
        }
    }

    /// Binds the session of a verified train; refuses a session with a different binding.
    pub(in crate::protocol) fn bind_session(
        &self,
        config: &TrainConfig,
        session_id: &[u8],
        stop: StopIndex,
    ) -> Result<(), StepError> {
        let stated = stated(config, stop);
        let known = self.ledger.bind_session(&self.id, session_id, &stated)?;
        self.compare(&known, &stated, session_id)
    }

    fn compare(&self, known: &Session, stated: &Session, session_id: &[u8]) -> Result<(), StepError> {
        // The creator is unknown for runs that an older version opened and that could not be read again.
        let differs = if known.train_id != stated.train_id {
            "train-id"
        } else if known.creator.is_some() && known.creator != stated.creator {
            "creator"
        } else if known.stop_index != stated.stop_index {
            "stop"
        } else {
            return Ok(());
        };
        let run = self.ledger.of_session(&self.id, session_id)?.map(|run| run.id);
        Err(StepError::SessionDiffers { differs, run })
    }
}

/// Returns the statements of a train that a binding records.
fn stated(config: &TrainConfig, stop: StopIndex) -> Session {
    let creator = &config.creator;
    let key = PublicKey::from_hex_pem(&creator.rsa_public_key).ok();
    Session {
        train_id: config.id.clone(),
        creator: key.map(|key| SessionCreator { id: creator.id.to_string(), fingerprint: key.fingerprint() }),
        stop_index: stop,
    }
}
