//! The writing thread: receives all waiting records, writes them at once, syncs once, and replies to every caller.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;

use super::{AuditError, Covered, Entry, Event, Position, Remember, Remembered, log::Log, mirror::MirrorThread};

/// Maximum number of records that are written at once.
const BATCH: usize = 256;
/// How long a deferrable record waits for others: a sync for many costs as much as a sync for one.
const GATHER: Duration = Duration::from_millis(4);
/// Interval at which an idle thread checks the mirror.
const IDLE: Duration = Duration::from_secs(1);

/// Requests to the thread.
pub(super) enum Message {
    /// A record, and whether it may wait briefly for others.
    Record(Box<Entry>, bool, oneshot::Sender<Result<Position, AuditError>>),
    Checkpoint(Box<Entry>, oneshot::Sender<Result<Covered, AuditError>>),
    Check(oneshot::Sender<Result<(), AuditError>>),
}

/// State of the thread that is visible to others.
#[derive(Debug)]
pub(super) struct Health {
    well: AtomicBool,
    size: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self { well: AtomicBool::new(true), size: AtomicU64::new(0) }
    }
}

impl Health {
    pub(super) fn is_well(&self) -> bool {
        self.well.load(Ordering::Acquire)
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Stores the outcome of a write; logs a change.
    fn set(&self, outcome: Result<(), &AuditError>, size: u64) {
        self.size.store(size, Ordering::Release);
        let before = self.well.swap(outcome.is_ok(), Ordering::AcqRel);
        match outcome {
            Err(error) if before => {
                tracing::error!(%error, hint = error.hint(), "the audit log cannot be written: operations are refused")
            }
            Ok(()) if !before => tracing::info!("the audit log can be written again"),
            _ => {}
        }
    }
}

pub(super) struct Writer {
    log: Log,
    health: Arc<Health>,
    second: Option<MirrorThread>,
    remember: Option<Remember>,
    /// Whether the last attempt to store the position succeeded, and the position stored last.
    remembers: bool,
    remembered: u64,
}

impl Writer {
    pub(super) fn new(log: Log, health: Arc<Health>, second: Option<MirrorThread>, remember: Option<Remember>) -> Self {
        health.set(Ok(()), log.size());
        Self { log, health, second, remember, remembers: true, remembered: 0 }
    }

    /// Runs until all senders are dropped.
    pub(super) fn run(mut self, queue: &Receiver<Message>) {
        loop {
            match queue.recv_timeout(IDLE) {
                Ok(Message::Record(entry, may_wait, answer)) => {
                    if may_wait {
                        std::thread::sleep(GATHER);
                    }
                    self.records(*entry, answer, queue);
                }
                Ok(other) => self.one(other),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look_after_second();
        }
        if let Some(second) = self.second.take() {
            second.finish();
        }
    }

    /// Writes a record together with those that wait behind it.
    fn records(&mut self, first: Entry, answer: oneshot::Sender<Result<Position, AuditError>>, queue: &Receiver<Message>) {
        let mut entries = vec![first];
        let mut answers = vec![answer];
        let mut other = None;
        while entries.len() < BATCH {
            match queue.try_recv() {
                Ok(Message::Record(entry, _, answer)) => {
                    entries.push(*entry);
                    answers.push(answer);
                }
                Ok(message) => {
                    other = Some(message);
                    break;
                }
                Err(_) => break,
            }
        }
        match self.append(&entries) {
            Ok(positions) => {
                for (answer, position) in answers.into_iter().zip(positions) {
                    let _ = answer.send(Ok(position));
                }
            }
            Err(error) => {
                let text = error.to_string();
                let mut error = Some(error);
                for answer in answers {
                    let error = error.take().unwrap_or_else(|| AuditError::io("write", std::io::Error::other(text.clone())));
                    let _ = answer.send(Err(error));
                }
            }
        }
        if let Some(message) = other {
            self.one(message);
        }
    }

    fn one(&mut self, message: Message) {
        match message {
            Message::Record(entry, _, answer) => {
                let _ = answer.send(self.append(&[*entry]).map(|positions| positions[0]));
            }
            Message::Checkpoint(entry, answer) => {
                let covered = self.log.append_after_all(*entry);
                let _ = answer.send(self.record_outcome(covered));
            }
            Message::Check(answer) => {
                // Only a successful write shows that there is space again.
                let outcome = if self.health.is_well() {
                    let truncated = self.log.truncate_torn_tail();
                    self.record_outcome(truncated)
                } else {
                    self.append(&[Entry::of(Event::WritableAgain)]).map(drop)
                };
                let _ = answer.send(outcome);
            }
        }
    }

    fn append(&mut self, entries: &[Entry]) -> Result<Vec<Position>, AuditError> {
        let outcome = self.log.append(entries);
        self.record_outcome(outcome)
    }

    fn record_outcome<T>(&mut self, outcome: Result<T, AuditError>) -> Result<T, AuditError> {
        self.health.set(outcome.as_ref().map(|_| ()), self.log.size());
        if outcome.is_ok() {
            self.remember();
        }
        if let Some(second) = &self.second {
            second.pass(self.log.end());
        }
        outcome
    }

    /// Stores the position before any caller is informed: a record that a caller knows of cannot be rewritten without a trace. A failure
    /// stops nothing, because the records are on the disk.
    fn remember(&mut self) {
        let Some(remember) = &self.remember else { return };
        if self.remembers && self.remembered == self.log.size() {
            return;
        }
        let place = Remembered { log: self.log.origin().to_owned(), size: self.log.size(), head: self.log.head() };
        let outcome = (remember.0)(&place);
        match &outcome {
            Err(error) if self.remembers => tracing::error!(%error, "the head of the audit log cannot be stored in the ledger"),
            Ok(()) if !self.remembers => tracing::info!("the head of the audit log can be stored in the ledger again"),
            _ => {}
        }
        (self.remembers, self.remembered) = (outcome.is_ok(), place.size);
    }

    fn look_after_second(&mut self) {
        let Some(report) = self.second.as_mut().and_then(MirrorThread::report) else { return };
        let entry = Entry::of(Event::SecondSink)
            .with("keeps_up", report.keeps_up)
            .with("behind", report.behind)
            .with("lost", report.lost)
            .with("replaced", report.replaced)
            .with("why", report.why.unwrap_or_default());
        let _ = self.append(&[entry]);
    }
}
