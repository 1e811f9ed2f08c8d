//! Bounded queue of log lines in front of standard error, with a separate thread that writes them.

use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Maximum numbers of queued lines and of their bytes.
const MOST_LINES: usize = 16 * 1024;
const MOST_BYTES: usize = 4 << 20;

/// The output to standard error. Cheap to clone.
#[derive(Clone)]
pub(super) enum Lines {
    /// Writes to a regular file directly.
    Direct(Arc<File>),
    /// Queues for a reader that may be slow, or absent.
    Queued(Queued),
}

#[derive(Clone)]
pub(super) struct Queued {
    queue: Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
}

/// The queued lines, and the number of dropped ones.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Lines {
    /// Writes to the current standard error.
    pub(super) fn to_stderr() -> io::Result<Self> {
        // A separate descriptor: the process's own is redirected (`captured`).
        let target = File::from(rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3)?);
        Ok(if target.metadata()?.is_file() { Self::Direct(Arc::new(target)) } else { Self::Queued(Queued::to(target)?) })
    }

    /// Passes a line on, or counts it as dropped. Waits for a regular file only.
    pub(super) fn pass(&self, line: Vec<u8>) {
        match self {
            Self::Direct(file) => drop((&**file).write_all(&line)),
            Self::Queued(queued) => queued.pass(line),
        }
    }

    /// Whether lines are queued.
    pub(super) fn is_queued(&self) -> bool {
        matches!(self, Self::Queued(_))
    }

    /// Waits until everything has been written, but no longer than `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        if let Self::Queued(queued) = self {
            queued.flush(timeout);
        }
    }
}

impl Queued {
    fn to(target: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = bounded(MOST_LINES);
        let waiting = Arc::<Waiting>::default();
        let of_thread = Arc::clone(&waiting);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(target, &lines, &of_thread))?;
        Ok(Self { queue, waiting })
    }

    fn pass(&self, line: Vec<u8>) {
        let length = line.len();
        let before = self.waiting.bytes.fetch_add(length, Ordering::AcqRel);
        if before + length > MOST_BYTES || self.queue.try_send(line).is_err() {
            self.waiting.bytes.fetch_sub(length, Ordering::AcqRel);
            self.waiting.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn flush(&self, timeout: Duration) {
        let begun = Instant::now();
        while self.waiting.bytes.load(Ordering::Acquire) > 0 && begun.elapsed() < timeout {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn write_all(mut target: impl Write, lines: &Receiver<Vec<u8>>, waiting: &Waiting) {
    for line in lines {
        // A closed terminal or pipe accepts nothing more; the service continues.
        let _ = target.write_all(&line);
        waiting.bytes.fetch_sub(line.len(), Ordering::AcqRel);
        let dropped = waiting.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 {
            tracing::warn!(lines = dropped, "log lines were dropped: standard error was not read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_and_the_rest_arrives() {
        let (reader, writer) = io::pipe().unwrap();
        let lines = Queued::to(writer).unwrap();
        let line = vec![b'x'; 1 << 16];
        // Nothing reads: the pipe holds one such line, the queue 4 MiB.
        for _ in 0..200 {
            lines.pass(line.clone());
        }
        let dropped = lines.waiting.dropped.load(Ordering::Acquire);
        assert!((100..200).contains(&dropped), "{dropped} of 200 lines were dropped");
        lines.flush(Duration::from_millis(10));

        let kept = (200 - usize::try_from(dropped).unwrap()) * line.len();
        let mut read = vec![0; kept];
        io::Read::read_exact(&mut &reader, &mut read).unwrap();
        lines.flush(Duration::from_secs(60));
        assert_eq!(lines.waiting.bytes.load(Ordering::Acquire), 0);
    }
}
