//! Checking a log offline, with nothing but the files and a public key.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    AuditError, Covered, Entry, Event, Record, checkpoint,
    read::{self, Segment},
    tree::{Frontier, Hash, leaf_hash},
};

/// More flaws than this are only counted.
const FLAWS_SHOWN: usize = 100;
/// Announced checkpoints that may be without their signature yet.
const ANNOUNCED: usize = 64;

/// A place in a log that somebody remembered: `SIZE:HASH`, the number of records and the hash of the last of them, hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Records.
    pub size: u64,
    /// Hash of the last of them.
    pub hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.size, const_hex::encode(self.hash))
    }
}

impl FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a head is SIZE:HASH, as `audit verify` prints it";
        let (size, hash) = text.split_once(':').ok_or(FORM)?;
        Ok(Self { size: size.parse().map_err(|_| FORM)?, hash: read::hash(hash).ok_or(FORM)? })
    }
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// What.
    pub what: String,
}

/// How a key was used, by one principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Uses that were announced.
    pub announced: u64,
    /// Of these, those that went well.
    pub succeeded: u64,
    /// Of these, those that failed.
    pub failed: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// The log's id.
    pub log: String,
    /// The first record that was there; 0 unless earlier segments are kept elsewhere.
    pub first: u64,
    /// Where the log ends.
    pub head: Option<Head>,
    /// Checkpoints whose signature and root hold.
    pub checkpoints: u64,
    /// Records that the last of them covers.
    pub covered: u64,
    /// Bytes of a half-written record at the end: nobody was told of it. A service that runs may be writing it.
    pub torn_bytes: u64,
    /// Uses by key (label and fingerprint) and principal.
    pub uses: BTreeMap<(String, String), BTreeMap<String, Uses>>,
    /// What is wrong; at most 100 of them.
    pub flaws: Vec<Flaw>,
    /// How much is wrong.
    pub flaw_count: u64,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.flaw_count == 0
    }
}

/// The segments that a path names: a file, or the log's directory.
///
/// # Errors
/// When it cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, AuditError> {
    if path.is_dir() {
        return Ok(read::segments(path)?.into_iter().map(|(_, path)| path).collect());
    }
    Ok(vec![path.to_owned()])
}

/// Checks segments, in their order. Without a key (SubjectPublicKeyInfo) checkpoints count for nothing.
///
/// # Errors
/// When a file cannot be read. What is wrong in a file is no error.
pub fn verify(files: &[PathBuf], spki_der: Option<&[u8]>, expected: Option<Head>) -> Result<Verification, AuditError> {
    let mut reading = Reading { spki_der, expected, found: Verification::default(), ..Reading::default() };
    for file in files {
        reading.segment(file)?;
    }
    Ok(reading.end(files.last()))
}

#[derive(Default)]
struct Reading<'a> {
    spki_der: Option<&'a [u8]>,
    expected: Option<Head>,
    reached: bool,
    found: Verification,
    number: u64,
    head: Hash,
    frontier: Frontier,
    announced: VecDeque<Covered>,
    /// Key uses since the service started, and what the token itself had counted by then.
    since_start: Counted,
    base: Option<Counted>,
    /// Announced key uses whose outcome is still to come: number, key, principal.
    open: BTreeMap<u64, ((String, String), String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    signatures: u64,
    decryptions: u64,
}

impl Counted {
    fn of(record: &Record) -> Option<Self> {
        let token = record.entry.about.get("token")?;
        Some(Self { signatures: token.get("signatures")?.as_u64()?, decryptions: token.get("decryptions")?.as_u64()? })
    }
}

impl Reading<'_> {
    fn flaw(&mut self, file: &Path, line: u64, what: impl Into<String>) {
        self.found.flaw_count += 1;
        if self.found.flaws.len() < FLAWS_SHOWN {
            self.found.flaws.push(Flaw { file: file.to_owned(), line, what: what.into() });
        }
    }

    fn segment(&mut self, file: &Path) -> Result<(), AuditError> {
        let mut segment = Segment::open(file)?;
        loop {
            match segment.next() {
                Ok(Some((bytes, record))) => {
                    if segment.line() == 1 {
                        self.header(file, &record);
                    }
                    self.record(file, segment.line(), &bytes, &record);
                }
                Ok(None) => break,
                Err(flaw @ read::LineError::NotARecord { line, .. }) => {
                    self.flaw(file, line, flaw.to_string());
                    // Nothing is known of its hash by what follows; the next record will say so, too.
                }
                Err(flaw) => {
                    self.flaw(file, segment.line() + 1, flaw.to_string());
                    break;
                }
            }
        }
        if self.found.torn_bytes > 0 {
            self.flaw(file, 0, "the segment before ends in the middle of a record");
        }
        self.found.torn_bytes = segment.torn();
        Ok(())
    }

    fn header(&mut self, file: &Path, record: &Record) {
        let Some(header) = record.header() else {
            return self.flaw(file, 1, "it does not begin as a segment does");
        };
        if self.number == 0 {
            self.found.log = header.log;
            self.found.first = record.seq;
            (self.head, self.frontier) = (header.prev, header.frontier);
            if header.number == 1 && (record.seq != 0 || header.prev != [0; 32]) {
                self.flaw(file, 1, "the first segment does not begin with the first record");
            }
        } else {
            if header.log != self.found.log {
                self.flaw(file, 1, "it is a segment of another log");
            }
            if header.number != self.number + 1 {
                self.flaw(file, 1, format!("segment {} follows segment {}", header.number, self.number));
            }
            if header.frontier != self.frontier {
                self.flaw(file, 1, "it does not continue the segment before");
            }
        }
        self.number = header.number;
    }

    fn record(&mut self, file: &Path, line: u64, bytes: &[u8], record: &Record) {
        if record.seq != self.frontier.size() {
            self.flaw(file, line, format!("record {} stands where record {} should", record.seq, self.frontier.size()));
        }
        if record.prev != const_hex::encode(self.head) {
            self.flaw(
                file,
                line,
                format!("record {} does not follow from the one before: that one, or this, was changed", record.seq),
            );
        }
        self.look_at(file, line, record);
        self.head = leaf_hash(bytes);
        self.frontier.push(self.head);
        if let Some(expected) = self.expected
            && expected.size == self.frontier.size()
        {
            self.reached = true;
            if expected.hash != self.head {
                self.flaw(file, line, format!("record {} is not the one that was remembered as the head", record.seq));
            }
        }
    }

    fn look_at(&mut self, file: &Path, line: u64, record: &Record) {
        let entry = &record.entry;
        match entry.event {
            Event::ServiceStarted => (self.since_start, self.base) = (Counted::default(), None),
            Event::KeysFound => self.base = Counted::of(record),
            Event::KeyUse => self.announced(record.seq, entry),
            Event::KeyUsed => self.outcome(file, line, entry),
            Event::Checkpoint => self.checkpoint(file, line, record),
            _ => {}
        }
    }

    fn announced(&mut self, seq: u64, entry: &Entry) {
        let operation = entry.operation.as_deref().unwrap_or_default();
        match operation {
            "unwrap" => self.since_start.decryptions += 1,
            _ => self.since_start.signatures += 1,
        }
        if operation == "checkpoint" {
            self.announced.push_back(Covered { size: self.frontier.size(), head: self.head, root: self.frontier.root() });
            if self.announced.len() > ANNOUNCED {
                self.announced.pop_front();
            }
        }
        let key = entry.key.as_ref().map(|key| (key.label.clone(), key.fingerprint.clone())).unwrap_or_default();
        let principal = entry.principal.clone().unwrap_or_default();
        self.found.uses.entry(key.clone()).or_default().entry(principal.clone()).or_default().announced += 1;
        self.open.insert(seq, (key, principal));
    }

    fn outcome(&mut self, file: &Path, line: u64, entry: &Entry) {
        let Some((key, principal)) = entry.of.and_then(|of| self.open.remove(&of)) else {
            return self.flaw(file, line, "a key was used without having been announced");
        };
        let uses = self.found.uses.entry(key).or_default().entry(principal).or_default();
        match entry.outcome.as_deref() {
            Some("ok") => uses.succeeded += 1,
            _ => uses.failed += 1,
        }
    }

    fn checkpoint(&mut self, file: &Path, line: u64, record: &Record) {
        if record.entry.of.is_some() {
            self.outcome(file, line, &record.entry);
        }
        if let (Some(base), Some(token)) = (self.base, Counted::of(record)) {
            let past = |token: u64, base: u64, announced: u64| token.saturating_sub(base) > announced;
            if past(token.signatures, base.signatures, self.since_start.signatures)
                || past(token.decryptions, base.decryptions, self.since_start.decryptions)
            {
                self.flaw(file, line, "the token was asked to use keys more often than was announced");
            }
        }
        let Some(spki_der) = self.spki_der else { return };
        let origin = format!("stationmaster/{}", self.found.log);
        let note = record.entry.about.get("note").and_then(|note| note.as_str()).unwrap_or_default();
        match checkpoint::verify(note, &origin, spki_der) {
            Err(error) => self.flaw(file, line, format!("a checkpoint is not to be believed: {error}")),
            Ok(covered) => match self.announced.iter().find(|announced| announced.size == covered.size) {
                None => self.flaw(file, line, "a checkpoint is signed for another place of the log"),
                Some(announced) if *announced != covered => self.flaw(
                    file,
                    line,
                    format!("a checkpoint was signed over other records than the first {}: they were changed", covered.size),
                ),
                Some(_) => {
                    self.found.checkpoints += 1;
                    self.found.covered = covered.size;
                }
            },
        }
    }

    fn end(mut self, last: Option<&PathBuf>) -> Verification {
        let last = last.cloned().unwrap_or_default();
        if let Some(expected) = self.expected
            && !self.reached
        {
            let what = format!(
                "the log ends after {} records, but {} were there: its end is missing",
                self.frontier.size(),
                expected.size
            );
            self.flaw(&last, 0, what);
        }
        if self.number == 0 {
            self.flaw(&last, 0, "there is no record");
        } else {
            self.found.head = Some(Head { size: self.frontier.size(), hash: self.head });
        }
        self.found
    }
}
