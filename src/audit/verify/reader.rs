//! Checks the records of a log in order.

use std::{
    collections::VecDeque,
    fmt,
    path::{Path, PathBuf},
};

use super::{Expected, FLAWS_SHOWN, Head, LogVerification, Unsigned, administrators::AdministratorsPosition};
use crate::audit::{
    AuditError, Covered, Entry, Event, Record,
    chain::{covered_by, unsigned},
    checkpoint,
    read::{Line, LineError, Segment, Text},
    tree::{Frontier, Hash},
    uses::Counter,
};

/// Maximum number of announced checkpoints that have no signature yet.
const ANNOUNCED: usize = 64;

/// Checks the records of segments, one after the other.
#[derive(Default)]
pub(super) struct LogReader<'a> {
    expected: Expected<'a>,
    reached: bool,
    found: LogVerification,
    number: u64,
    head: Hash,
    frontier: Frontier,
    /// Number of the record with which the segment begins.
    segment_at: Option<u64>,
    announced: VecDeque<Covered>,
    /// Number of records that a checkpoint covers; without a key, as the checkpoint claims.
    signed: u64,
    uses: Counter,
    /// Key uses since the service started, and the token's own count by then.
    since_start: KeyUseCount,
    base: Option<KeyUseCount>,
    /// Whether a change of the TLS certificate since then named a key in the token: its handshakes are counted, not announced.
    tls_key_named: bool,
    administrators: AdministratorsPosition,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct KeyUseCount {
    signatures: u64,
    decryptions: u64,
}

impl KeyUseCount {
    fn from_json(about: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        Some(Self { signatures: about.get("signatures")?.as_u64()?, decryptions: about.get("decryptions")?.as_u64()? })
    }

    /// Returns the token's own count in a record.
    fn by_token(record: &Record) -> Option<Self> {
        Self::from_json(record.entry.about.get("token")?.as_object()?)
    }

    fn add(&mut self, more: Self) {
        self.signatures = self.signatures.saturating_add(more.signatures);
        self.decryptions = self.decryptions.saturating_add(more.decryptions);
    }
}

/// Returns the number of signatures of TLS handshakes since the start, as a checkpoint states it.
fn handshakes(record: &Record) -> u64 {
    record.entry.about.get("tls").and_then(|tls| tls.get("signatures")?.as_u64()).unwrap_or_default()
}

impl<'a> LogReader<'a> {
    pub(super) fn new(expected: Expected<'a>) -> Self {
        Self { expected, ..Self::default() }
    }

    fn flaw(&mut self, file: &Path, line: u64, what: fmt::Arguments<'_>) {
        self.found.flaw(file, line, what);
    }

    /// Checks the records of a segment.
    pub(super) fn segment(&mut self, file: &Path) -> Result<(), AuditError> {
        let torn_before = self.found.torn_bytes > 0;
        let mut segment = Segment::open(file)?;
        loop {
            match segment.next_record() {
                Ok(Some(line)) => self.record(file, segment.line(), &line),
                Ok(None) => break,
                // The hash of this line is unknown, so the next record is reported as well.
                Err(LineError::NotARecord { line, cause }) => {
                    self.flaw(file, line, format_args!("line {line} is no record: {cause}"));
                }
                Err(flaw @ LineError::Io(_)) => {
                    self.flaw(file, segment.line() + 1, format_args!("{flaw}"));
                    break;
                }
            }
        }
        if torn_before {
            self.flaw(file, 0, format_args!("the segment before ends in the middle of a record"));
        }
        self.found.torn_bytes = segment.torn();
        Ok(())
    }

    /// Checks the first record of a segment. A copy may hold several segments in one file, or be split differently.
    fn header(&mut self, file: &Path, line: u64, record: &Record) {
        let Some(header) = record.header() else {
            return self.flaw(file, line, format_args!("it does not begin as a segment does"));
        };
        if self.number == 0 {
            self.found.log = header.log;
            self.found.first = record.seq;
            self.signed = header.covered.unwrap_or_default();
            (self.head, self.frontier) = (header.prev, header.frontier);
            if header.number == 1 && (record.seq != 0 || header.prev != [0; 32]) {
                self.flaw(file, line, format_args!("the first segment does not begin with the first record"));
            }
        } else {
            if header.log != self.found.log {
                self.flaw(file, line, format_args!("it is a segment of another log"));
            }
            if header.number != self.number + 1 {
                let before = self.number;
                self.flaw(file, line, format_args!("segment {} follows segment {before}", header.number));
            }
            if header.frontier != self.frontier {
                self.flaw(file, line, format_args!("it does not continue the segment before"));
            }
        }
        self.number = header.number;
        self.segment_at = Some(record.seq);
    }

    fn record(&mut self, file: &Path, line: u64, Line { hash, record, text }: &Line) {
        if self.number == 0 || record.entry.event == Event::Segment {
            self.header(file, line, record);
        }
        let due = self.frontier.size();
        if record.seq != due {
            self.flaw(file, line, format_args!("record {} is in the place of record {due}", record.seq));
        }
        if record.prev != const_hex::encode(self.head) {
            let what = "does not follow from the one before: that one, or this, was changed";
            self.flaw(file, line, format_args!("record {} {what}", record.seq));
        }
        self.check_event(file, line, record);
        self.found.long_lines += u64::from(matches!(text, Text::TooLong { .. }));
        self.head = *hash;
        self.frontier.push(self.head);
        if let Some(expected) = self.expected.head
            && expected.size == self.frontier.size()
        {
            self.reached = true;
            if expected.hash != self.head {
                self.flaw(file, line, format_args!("record {} is not the one that was remembered as the head", record.seq));
            }
        }
    }

    fn check_event(&mut self, file: &Path, line: u64, record: &Record) {
        let entry = &record.entry;
        match entry.event {
            Event::ServiceStarted => self.restarted(record.seq),
            // Later events occur while the service runs, and their trials are announced.
            Event::KeysFound => self.base = self.base.or(KeyUseCount::by_token(record)),
            Event::KeysTried => self.since_start.add(KeyUseCount::from_json(&entry.about).unwrap_or_default()),
            Event::TlsChanged => self.tls_key_named |= entry.key.is_some(),
            Event::KeyUse => self.announced(record.seq, entry),
            Event::KeyUsed => self.outcome(file, line, entry),
            Event::Checkpoint => self.checkpoint(file, line, record),
            Event::AdministratorsLog => {
                if let Err(what) = self.administrators.update(entry) {
                    self.flaw(file, line, format_args!("{what}"));
                }
            }
            _ => {}
        }
    }

    fn restarted(&mut self, seq: u64) {
        (self.since_start, self.base, self.tls_key_named) = (KeyUseCount::default(), None, false);
        self.uses.restarted();
        // A segment that was begun for this record did not exist before.
        let end = if self.segment_at == seq.checked_sub(1) { seq - 1 } else { seq };
        let count = unsigned(end, self.signed).min(end.saturating_sub(self.found.first));
        if count > 0 {
            self.found.unsigned_count += 1;
            if self.found.unsigned.len() < FLAWS_SHOWN {
                self.found.unsigned.push(Unsigned { first: end - count, last: end - 1 });
            }
        }
    }

    fn announced(&mut self, seq: u64, entry: &Entry) {
        let operation = entry.operation.as_deref().unwrap_or_default();
        let (signatures, decryptions) = match operation {
            "unwrap" => (0, 1),
            // The rest of a line that is too long is not checked.
            "" => (1, 1),
            _ => (1, 0),
        };
        self.since_start.add(KeyUseCount { signatures, decryptions });
        if operation == "checkpoint" {
            self.announced.push_back(Covered { size: self.frontier.size(), head: self.head, root: self.frontier.root() });
            if self.announced.len() > ANNOUNCED {
                self.announced.pop_front();
            }
        }
        self.uses.announced(seq, entry);
    }

    fn outcome(&mut self, file: &Path, line: u64, entry: &Entry) {
        if !self.uses.ended(entry.of, entry.outcome.as_deref()) {
            self.flaw(file, line, format_args!("a key was used without having been announced"));
        }
    }

    fn checkpoint(&mut self, file: &Path, line: u64, record: &Record) {
        if record.entry.of.is_some() {
            self.outcome(file, line, &record.entry);
        }
        if let (Some(base), Some(token)) = (self.base, KeyUseCount::by_token(record)) {
            let past = |token: u64, base: u64, announced: u64| token.saturating_sub(base) > announced;
            let handshakes = if self.tls_key_named { handshakes(record) } else { 0 };
            if past(token.signatures, base.signatures, self.since_start.signatures.saturating_add(handshakes))
                || past(token.decryptions, base.decryptions, self.since_start.decryptions)
            {
                self.flaw(file, line, format_args!("the token used keys more often than was announced"));
            }
        }
        if self.expected.keys.is_empty() {
            self.signed = covered_by(record).unwrap_or(self.signed);
            return;
        }
        let origin = format!("stationmaster/{}", self.found.log);
        let note = record.entry.about.get("note").and_then(|note| note.as_str()).unwrap_or_default();
        match checkpoint::verify(note, &origin, self.expected.keys) {
            Err(error) => self.flaw(file, line, format_args!("a checkpoint is invalid: {error}")),
            Ok(covered) => match self.announced.iter().find(|announced| announced.size == covered.size) {
                None => self.flaw(file, line, format_args!("a checkpoint is signed for another position in the log")),
                Some(announced) if *announced != covered => {
                    let what = format_args!(
                        "a checkpoint was signed over other records than the first {}: they were changed",
                        covered.size
                    );
                    self.flaw(file, line, what);
                }
                Some(_) => {
                    self.found.checkpoints += 1;
                    (self.found.covered, self.signed) = (covered.size, covered.size);
                }
            },
        }
    }

    /// Returns the result; `last` is the last file.
    pub(super) fn end(mut self, last: Option<&PathBuf>) -> LogVerification {
        let last = last.cloned().unwrap_or_default();
        let size = self.frontier.size();
        if let Some(expected) = self.expected.head
            && !self.reached
        {
            let what = format_args!("the log ends after {size} records, but {} were there: its end is missing", expected.size);
            self.flaw(&last, 0, what);
        }
        if self.number == 0 {
            self.flaw(&last, 0, format_args!("there is no record"));
        } else {
            self.found.head = Some(Head { size, hash: self.head });
        }
        if !self.expected.keys.is_empty() && self.found.checkpoints == 0 && !self.expected.allow_unsigned {
            self.flaw(&last, 0, format_args!("no checkpoint is signed, so the origin of these records is not proven"));
        }
        self.found.claimed = self.signed;
        self.found.administrators = self.administrators.last;
        self.found.uses = self.uses.take();
        self.found
    }
}
