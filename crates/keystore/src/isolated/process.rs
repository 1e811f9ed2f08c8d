//! Starts and ends the worker process of a token.

use std::{
    io,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::socket::Socket;
use crate::Isolation;

/// How long a worker process may take to close its token.
const LAST_CALL: Duration = Duration::from_secs(5);

/// A running worker process. Dropping it ends the process.
pub(super) struct WorkerProcess {
    child: Child,
}

impl WorkerProcess {
    /// Starts the process, with its end of the connection as standard input.
    pub(super) fn start(isolation: &Isolation) -> io::Result<(Self, Socket)> {
        let (ours, theirs) = Socket::pair()?;
        let child = Command::new(&isolation.program)
            .args(&isolation.arguments)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        Ok((Self { child }, ours))
    }

    /// Waits until the process has ended by itself, else kills it.
    pub(super) fn end(&mut self) {
        let since = Instant::now();
        while since.elapsed() < LAST_CALL {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// Kills the process, whatever its library does.
    pub(super) fn kill(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
