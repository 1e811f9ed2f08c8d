//! The station: the state that every step needs.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use stationmaster_image::{
    ImageError,
    oci::reference::{ImageId, ImageSource},
    store::{ImageStore, working_containers::WorkingContainers},
};
use stationmaster_train::rule::Rule;
use tokio::runtime::Handle;

use super::audited_keys::AuditedKeys;
use crate::{
    audit::{Entry, Event},
    ledger::{Ledger, Run, RunId},
    protocol::context::{
        call_context::KnownSessions,
        error::StepError,
        rules::{OF_TRUST, Policy},
    },
    trust::{Trust, TrustMode, TrustSnapshot},
};

/// Behaviour of train_lib that is enabled only on request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compat {
    /// Whether post-run also moves `latest`, whatever tag the call names.
    pub move_latest: bool,
}

/// This station: its keys, its engine, its ledger.
pub struct Station {
    /// The station id as routes name it.
    pub id: String,
    /// Its private keys, and the log of their use.
    pub keys: AuditedKeys,
    /// Its image store.
    pub images: Arc<dyn ImageStore>,
    /// Its working containers; `None` on a station without an engine.
    pub containers: Option<Arc<dyn WorkingContainers>>,
    /// Its ledger of runs.
    pub ledger: Ledger,
    /// Directory of the spools.
    pub spool_directory: PathBuf,
    /// Bytes that a spool leaves free on its disk.
    pub spool_reserve: u64,
    /// The directory that service and engine share, where trains are opened on request.
    pub shared_directory: Option<PathBuf>,
    /// The keys that it trusts.
    pub trust: Trust,
    /// The rules that it enforces on trains.
    pub policy: Policy,
    /// Behaviour of train_lib that is enabled only on request.
    pub compat: Compat,
    /// The runtime for calls to the token.
    pub handle: Handle,
    /// Train sessions that a call is working on.
    pub active_stops: Mutex<HashSet<Vec<u8>>>,
    /// Whether a roll-back has failed since startup (the engine was unavailable):
    /// [`retry_recovery`](crate::protocol::steps::recover::retry_recovery) tries again.
    pub recovery_pending: AtomicBool,
    /// Whether [`recover`](crate::protocol::steps::recover::recover) has recovered the runs of an earlier process; no step may
    /// run before.
    pub recovered: AtomicBool,
    /// Whether the last check of the image store failed.
    pub images_away: AtomicBool,
}

impl Station {
    /// Whether the keys in the train itself are trusted.
    pub(in crate::protocol) fn is_embedded(&self) -> bool {
        self.trust.mode() == TrustMode::Embedded
    }

    /// Whether a rule is enforced on trains. The rules about keys do not apply where the keys in the train are trusted.
    pub(in crate::protocol) fn enforces(&self, rule: Rule) -> bool {
        self.policy.rules.holds(rule) && !(self.is_embedded() && OF_TRUST.contains(&rule))
    }

    /// Returns the keys that this station trusts now. A changed trust file is recorded in the audit before it takes effect here.
    ///
    /// # Errors
    /// When the trust file is not available, or the change cannot be recorded.
    pub fn trusted_keys(&self) -> Result<TrustSnapshot, StepError> {
        let trusted = self.trust.current().map_err(StepError::TrustNotReady)?;
        if let Some(digest) = trusted.new_file() {
            let entry = Entry::of(Event::TrustChanged).with("read_by", "service").with("sha256", const_hex::encode(digest));
            self.keys.audit().record(entry)?;
            self.trust.acknowledge(digest);
        }
        Ok(trusted)
    }

    /// Returns read access to the sessions that this station has bound.
    #[must_use]
    pub fn known_sessions(&self) -> KnownSessions<'_> {
        KnownSessions { ledger: &self.ledger, station: &self.id }
    }

    /// Returns the id of the image that a call names.
    pub(in crate::protocol) fn image_id(&self, image: &ImageSource) -> Result<ImageId, StepError> {
        self.images.resolve(image).map_err(|error| match error {
            ImageError::NotFound => StepError::ImageNotFound(image.clone()),
            other => other.into(),
        })
    }

    /// Returns the run with that id.
    pub(in crate::protocol) fn run(&self, id: RunId) -> Result<Run, StepError> {
        self.ledger.run(id)?.ok_or_else(|| StepError::RunNotFound(id.to_string()))
    }

    /// Claims a train session for one call. The session is the unit because it has one stop here, whatever its route states.
    pub(in crate::protocol) fn claim(&self, session_id: &[u8]) -> Result<Claim<'_>, StepError> {
        let key = session_id.to_vec();
        let mut busy = self.active_stops.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !busy.insert(key.clone()) {
            return Err(StepError::Busy);
        }
        Ok(Claim { station: self, key })
    }
}

/// Exclusive claim of a call on a train session.
pub(in crate::protocol) struct Claim<'a> {
    station: &'a Station,
    key: Vec<u8>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.station.active_stops.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&self.key);
    }
}
