//! The journal of calls: written by the module, read by tests, also from another process.
//!
//! A line is `PID TIME begin FUNCTION SESSION` or `PID TIME end FUNCTION SESSION REAL RETURNED`. The time is in microseconds since 1970. The session is the first argument, or
//! what `C_OpenSession` returned; it has a meaning for functions with a session only. `REAL` is `-` when the real module was
//! not called.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cryptoki_sys::CK_RV;

use crate::values;

const FILE: &str = "journal";

pub(crate) fn begin(directory: &Path, function: &str, session: u64) {
    append(directory, &format!("begin {function} {session}"));
}

pub(crate) fn end(directory: &Path, function: &str, session: u64, real: Option<CK_RV>, returned: CK_RV) {
    let real = real.map_or_else(|| "-".to_owned(), values::name);
    append(directory, &format!("end {function} {session} {real} {}", values::name(returned)));
}

/// Appends a line with one call of the system, so that lines of several processes do not mix.
fn append(directory: &Path, what: &str) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let line = format!("{} {time} {what}\n", std::process::id());
    let written = OpenOptions::new().append(true).create(true).open(directory.join(FILE)).and_then(|mut file| {
        // A partial line would be taken for a call of another process.
        if file.write(line.as_bytes())? == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    });
    if let Err(error) = written {
        // The test may have removed the directory already, while a thread still closes its sessions.
        if error.kind() != io::ErrorKind::NotFound {
            eprintln!("the journal in {}: {error}", directory.display());
            std::process::abort();
        }
    }
}

/// The begin or the end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Process that called.
    pub pid: u32,
    /// When, since 1970.
    pub time: Duration,
    /// Function of the standard: `C_Sign`.
    pub function: String,
    /// Session's handle, if the function has one.
    pub session: u64,
    /// How the call ended; `None` for its begin.
    pub end: Option<End>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// What the real module returned; `None` when it was not called.
    pub real: Option<String>,
    /// What the caller got.
    pub returned: String,
}

/// All calls that the module has received.
#[derive(Debug, Clone)]
pub struct Journal(Vec<Entry>);

impl Journal {
    pub(crate) fn read(directory: &Path) -> io::Result<Journal> {
        let text = match fs::read_to_string(directory.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let malformed = |line: &str| io::Error::new(io::ErrorKind::InvalidData, line.to_owned());
        text.lines().map(|line| entry(line).ok_or_else(|| malformed(line))).collect::<io::Result<_>>().map(Journal)
    }

    /// Returns begins and ends of calls, in the order in which they were written.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Returns the number of calls of a function, including those that have not ended.
    pub fn calls(&self, function: &str) -> usize {
        self.0.iter().filter(|entry| entry.end.is_none() && entry.function == function).count()
    }

    /// Returns the number of calls of a function that reached the real module and have ended.
    pub fn real_calls(&self, function: &str) -> usize {
        let reached = |entry: &&Entry| entry.end.as_ref().is_some_and(|end| end.real.is_some());
        self.0.iter().filter(reached).filter(|entry| entry.function == function).count()
    }

    /// Returns the number of sessions that callers have to close: those that they were given, and neither closed nor were told
    /// to be invalid.
    pub fn sessions(&self) -> usize {
        let mut open = BTreeSet::new();
        for Entry { pid, function, session, end, .. } in &self.0 {
            let Some(End { returned, .. }) = end else { continue };
            match (function.as_str(), returned.as_str()) {
                ("C_OpenSession", "CKR_OK") => drop(open.insert((*pid, *session))),
                ("C_OpenSession", _) => {}
                ("C_CloseSession", "CKR_OK") | (_, "CKR_SESSION_HANDLE_INVALID" | "CKR_SESSION_CLOSED") => {
                    open.remove(&(*pid, *session));
                }
                ("C_Finalize" | "C_CloseAllSessions", "CKR_OK") => open.retain(|(of, _)| of != pid),
                _ => {}
            }
        }
        open.len()
    }
}

fn entry(line: &str) -> Option<Entry> {
    let words: Vec<&str> = line.split(' ').collect();
    let (pid, time, what, function, session, end) = match words[..] {
        [pid, time, what, function, session] => (pid, time, what, function, session, None),
        [pid, time, what, function, session, real, returned] => {
            let real = (real != "-").then(|| real.to_owned());
            (pid, time, what, function, session, Some(End { real, returned: returned.to_owned() }))
        }
        _ => return None,
    };
    let expected = if end.is_some() { "end" } else { "begin" };
    (what == expected).then_some(())?;
    let time = Duration::from_micros(time.parse().ok()?);
    Some(Entry { pid: pid.parse().ok()?, time, function: function.to_owned(), session: session.parse().ok()?, end })
}
