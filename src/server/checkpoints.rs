//! Signs audit checkpoints periodically. Also records counted refusals, which were too frequent for a record each, and the head
//! of the administrators' log.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::Authorizer;
use crate::{
    audit::{Administrators, Entry, Event, LogChange, Remembered, archive},
    ledger::{Ledger, LogOf},
    protocol::AuditedKeys,
};

/// Interval of the check whether a checkpoint is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which counted refusals are recorded.
const SUM_UP_EVERY: Duration = Duration::from_secs(10);
/// Timeout of the token for a signature.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of the token's health check before the last checkpoint.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Delay before a failed checkpoint is retried: each attempt leaves records, and a token may be unavailable for days.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Delay before archiving is retried: each attempt leaves a record.
const ARCHIVE_AGAIN: Duration = Duration::from_secs(600);
/// Records that a checkpoint itself produces: they alone do not make another one due.
const OWN: u64 = 2;

/// Schedule of the checkpoints, and the key that signs them.
pub(super) struct Checkpoints {
    pub keys: AuditedKeys,
    pub label: String,
    pub authorizer: Arc<Authorizer>,
    pub ledger: Ledger,
    pub administrators: Arc<Mutex<Administrators>>,
    /// Whether the failure to read the administrators' log was already logged.
    pub blind: AtomicBool,
    /// The log's directory, the archive for old segments, and the number of segments that stay.
    pub directory: PathBuf,
    pub archive: Option<(PathBuf, u64)>,
    pub every_records: u64,
    pub every: Duration,
}

impl Checkpoints {
    /// Signs the first checkpoint, before anything is served, so that no old record remains unsigned. Returns what it covers.
    pub(super) async fn first(&self) -> Option<u64> {
        self.check_administrators().await;
        self.sign().await
    }

    /// Signs checkpoints until `stop` is cancelled.
    pub(super) async fn run(self: Arc<Self>, first: Option<u64>, stop: CancellationToken) {
        let (mut covered, mut since, mut summed) = (first.unwrap_or_default(), Instant::now(), Instant::now());
        let mut archive_after = since;
        let mut failed = first.is_none().then_some(since);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            if summed.elapsed() >= SUM_UP_EVERY {
                self.authorizer.record_counted().await;
                if archive_after <= Instant::now() && !self.archive_old().await {
                    archive_after = Instant::now() + ARCHIVE_AGAIN;
                }
                summed = Instant::now();
            }
            let has_command = self.check_administrators().await;
            let new = self.keys.audit().size().saturating_sub(covered);
            let is_due = has_command || new >= self.every_records || (new > OWN && since.elapsed() >= self.every);
            if is_due && failed.is_none_or(|failed| failed.elapsed() >= AGAIN_AFTER) {
                match self.sign().await {
                    Some(size) => (covered, since, failed) = (size, Instant::now(), None),
                    None => failed = Some(Instant::now()),
                }
            }
        }
    }

    /// Signs the last checkpoint, which covers all records so far.
    pub(super) async fn last(&self) {
        self.authorizer.record_counted().await;
        self.check_administrators().await;
        // A token that fails the health check would delay the shutdown for longer.
        match self.keys.check(Some(Instant::now() + LAST_LOOK)).await {
            Ok(()) => drop(self.sign().await),
            Err(error) => tracing::warn!(%error, "the last checkpoint of the audit log could not be signed"),
        }
    }

    async fn sign(&self) -> Option<u64> {
        match self.keys.checkpoint(&self.label, Some(Instant::now() + TIMEOUT)).await {
            Ok(covered) => Some(covered.size),
            Err(error) => {
                tracing::warn!(%error, "a checkpoint of the audit log could not be signed");
                None
            }
        }
    }

    /// Records the head of the administrators' log if it has changed. Returns whether it had.
    async fn check_administrators(&self) -> bool {
        let administrators = Arc::clone(&self.administrators);
        let look =
            tokio::task::spawn_blocking(move || administrators.lock().unwrap_or_else(PoisonError::into_inner).check()).await;
        if let Ok(Ok(_)) = &look {
            self.blind.store(false, Ordering::Relaxed);
        }
        let (place, outcome, detail) = match look {
            Ok(Ok(LogChange::Unchanged)) => return false,
            Ok(Ok(LogChange::Advanced(place))) => (Some(place), "ok", None),
            Ok(Ok(LogChange::Broken(why, place))) => {
                tracing::error!(why, "the log of administrators' commands was rewritten, truncated or removed");
                (place, "broken", Some(why))
            }
            Ok(Err(error)) => {
                if !self.blind.swap(true, Ordering::Relaxed) {
                    let hint = "the service's log does not protect it until then: change its owner to the service's user";
                    tracing::warn!(%error, hint, "the log of the administrators' commands cannot be read");
                }
                return false;
            }
            Err(_) => return false,
        };
        let entry = Entry { outcome: Some(outcome.to_owned()), detail, ..Entry::of(Event::AdministratorsLog) };
        let entry = match &place {
            Some(Remembered { log, size, head }) => {
                entry.with("log", log.as_str()).with("head", format!("{size}:{}", const_hex::encode(head)))
            }
            None => entry,
        };
        let recorded = self.keys.audit().record_async(entry).await;
        if let (Ok(_), Some(Remembered { log, size, head })) = (recorded, &place)
            && let Err(error) = self.ledger.remember_audit(LogOf::Administrators, log, *size, head).await
        {
            tracing::warn!(%error, "the head of the administrators' log could not be stored in the ledger");
        }
        true
    }

    /// Moves old segments to the archive, after that has been recorded. Returns whether everything succeeded.
    async fn archive_old(&self) -> bool {
        let Some((to, keep)) = self.archive.clone() else { return true };
        let old = match archive::movable(&self.directory, keep) {
            Ok(old) => old,
            Err(error) => {
                tracing::warn!(%error, "the segments of the audit log cannot be listed");
                return false;
            }
        };
        let (Some((first, _)), Some((last, _))) = (old.first(), old.last()) else { return true };
        let entry = Entry::of(Event::SegmentsArchived).with("first", *first).with("last", *last);
        if self.keys.audit().record_async(entry.with("to", to.to_string_lossy())).await.is_err() {
            return false;
        }
        let moved = tokio::task::spawn_blocking(move || old.iter().try_for_each(|(_, path)| archive::move_segment(path, &to)));
        let moved = moved.await;
        if let Ok(Err(error)) = &moved {
            tracing::warn!(%error, "a segment of the audit log could not be archived");
        }
        matches!(moved, Ok(Ok(())))
    }
}
