//! Threads for handshakes with a key in a token.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Number of handshakes that wait for the token at once, so that handshakes never take more than this many places in its queue. A
/// client that is slow to send waits on no thread.
const THREADS: usize = 4;

/// The threads, which end when this is dropped. rustls signs within the task that reads the connection and waits for the signature: on
/// the service's own threads, a token that is slow or hangs would hold up calls.
pub(in crate::server) struct HandshakeThreads(Option<Runtime>);

impl HandshakeThreads {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(super) fn start() -> io::Result<Self> {
        let threads = Builder::new_multi_thread().worker_threads(THREADS).thread_name("tls-handshake").enable_all().build()?;
        Ok(Self(Some(threads)))
    }

    /// Returns where to run a handshake.
    pub(super) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|threads| threads.handle().clone())
    }
}

impl Drop for HandshakeThreads {
    fn drop(&mut self) {
        // Dropped within a task, where waiting for the threads is not possible.
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}
