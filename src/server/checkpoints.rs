//! Checkpoints of the audit, signed now and then; and what is recorded besides: refusals that came too fast for a record each.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::Doorkeeper;
use crate::{ledger::Ledger, protocol::AuditedKeys};

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Refusals are summed up this often.
const SUM_UP_EVERY: Duration = Duration::from_secs(10);
/// How long the token may take for a signature.
const PATIENCE: Duration = Duration::from_secs(10);
/// A checkpoint that failed is tried again after this: each attempt leaves records, and a token may be away for days.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Records of a checkpoint's own: alone they are no reason for another.
const OWN: u64 = 2;

/// When checkpoints are signed, and with what.
pub(super) struct Checkpoints {
    pub keys: AuditedKeys,
    pub label: String,
    pub door: Arc<Doorkeeper>,
    pub ledger: Ledger,
    pub every_records: u64,
    pub every: Duration,
}

impl Checkpoints {
    /// Signs checkpoints until told to stop.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let (mut covered, mut since, mut summed) = (0, Instant::now(), Instant::now());
        let mut failed: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if summed.elapsed() >= SUM_UP_EVERY {
                self.door.record_counted().await;
                summed = Instant::now();
            }
            let new = self.keys.audit().size().saturating_sub(covered);
            let is_due = new >= self.every_records || (new > OWN && since.elapsed() >= self.every);
            if is_due && failed.is_none_or(|failed| failed.elapsed() >= AGAIN_AFTER) {
                match self.sign().await {
                    Some(size) => (covered, since, failed) = (size, Instant::now(), None),
                    None => failed = Some(Instant::now()),
                }
            }
        }
    }

    /// The last checkpoint: everything until now.
    pub async fn last(&self) {
        self.door.record_counted().await;
        self.sign().await;
    }

    async fn sign(&self) -> Option<u64> {
        match self.keys.checkpoint(&self.label, Some(Instant::now() + PATIENCE)).await {
            Ok(covered) => {
                let remembered = self.ledger.remember_audit(self.keys.audit().origin(), covered.size, &covered.head).await;
                if let Err(error) = remembered {
                    tracing::warn!(%error, "the audit's head could not be kept in the ledger");
                }
                Some(covered.size)
            }
            Err(error) => {
                tracing::warn!(%error, "no checkpoint of the audit could be signed");
                None
            }
        }
    }
}
