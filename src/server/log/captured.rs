//! Captures the standard error of the process in a pipe that is always read. A token's library, a panic or a banner writes there
//! whether or not anything reads the terminal or pipe; those writes must not block either.

use std::{
    io::{self, BufRead, BufReader, PipeReader, Read},
    thread::JoinHandle,
};

use super::lines::Lines;

/// Maximum line length in bytes; a longer line is passed on in pieces.
const LONGEST: u64 = 16 * 1024;

/// The captured descriptor.
pub(super) struct Captured(JoinHandle<()>);

impl Captured {
    /// Redirects standard error to `lines`.
    pub(super) fn stderr(lines: Lines) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let thread = std::thread::Builder::new().name("stderr".to_owned()).spawn(move || pass_on(reader, &lines))?;
        rustix::stdio::dup2_stderr(&writer)?;
        Ok(Self(thread))
    }

    /// Passes on what was written so far. Later writes are discarded.
    pub(super) fn close(self) {
        let Ok(nowhere) = std::fs::File::options().write(true).open("/dev/null") else { return };
        // This closes the last writing end, unless a child process holds one; then the thread is left running.
        let _ = rustix::stdio::dup2_stderr(&nowhere);
        for _ in 0..100 {
            if self.0.is_finished() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

fn pass_on(reader: PipeReader, lines: &Lines) {
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => lines.pass(line),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
