//! Adds the priority that the systemd journal reads (`<4>`, sd-daemon(3)) to log lines, if standard error is the journal's.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::lines::Lines;

/// Makes the writer of each line.
pub(super) struct Prefixed {
    lines: Lines,
    journal: bool,
}

impl Prefixed {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines, journal: is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) }
    }
}

/// Whether standard error is the stream that systemd names as `DEVICE:INODE`.
fn is_journal(named: Option<&str>) -> bool {
    let Ok(found) = rustix::fs::fstat(io::stderr()) else { return false };
    named.is_some_and(|named| named == format!("{}:{}", found.st_dev, found.st_ino))
}

fn priority(level: Level) -> &'static [u8] {
    match level {
        Level::ERROR => b"<3>",
        Level::WARN => b"<4>",
        Level::INFO => b"<6>",
        _ => b"<7>",
    }
}

impl<'a> MakeWriter<'a> for Prefixed {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: &self.lines, prefix: b"" }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line<'a> {
        Line { lines: &self.lines, prefix: if self.journal { priority(*about.level()) } else { b"" } }
    }
}

/// The writer of one line, which is written completely at once.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    prefix: &'static [u8],
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines.pass([self.prefix, bytes].concat());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_stream_of_that_device_and_inode_alone_is_the_journals() {
        let found = std::fs::metadata("/proc/self/fd/2").unwrap();
        assert!(is_journal(Some(&format!("{}:{}", found.dev(), found.ino()))));
        assert!(!is_journal(Some(&format!("{}:{}", found.dev(), found.ino() + 1))));
        assert!(!is_journal(None));
    }
}
