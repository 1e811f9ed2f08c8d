//! TLS identity of the server: TLS 1.3 only, a client certificate required, revocation lists if configured. The files are read
//! again when they change; a change is in the audit before it takes effect, and closes the connections that it does not admit.

mod admitted;
mod material;
mod offline;
mod own;
#[cfg(test)]
mod tests;
mod threads;
mod token_key;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub(super) use admitted::Admitted;
use arc_swap::ArcSwap;
pub use offline::{TlsFiles, read};
use rustls::{ServerConfig, pki_types::CertificateDer};
use stationmaster_system::files::{FileThread, NotResponding};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::{admitted::AdmittedConnections, material::Material, threads::HandshakeThreads};
use super::{Authorizer, ServerError, TlsFault, health::Checked, signals};
use crate::{config::Tcp, protocol::TlsKeyHolder};

const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// Interval at which open connections are checked when nothing has changed but the time: a revocation list may expire.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The identity in use; each new connection receives the current one.
#[derive(Clone)]
pub struct Identity {
    files: Tcp,
    key: InToken,
    /// Reads the files on a separate thread, because their file system may hang.
    file_thread: FileThread,
    current: Arc<ArcSwap<Material>>,
    standing: Arc<AdmittedConnections>,
    /// Why the files could not be taken into use, as last seen.
    trouble: Arc<Mutex<Option<Trouble>>>,
}

/// The key in a token, if it is in one.
#[derive(Clone, Default)]
struct InToken {
    holder: Option<TlsKeyHolder>,
    threads: Option<Arc<HandshakeThreads>>,
}

/// Files that cannot be taken into use. Certificate and key are two files: while an administrator replaces one after the other, they do
/// not match for a moment, which is no trouble yet.
struct Trouble {
    error: String,
    lasts: bool,
}

impl Identity {
    /// Reads the files. Without the key's holder, a key that is in a token is not looked at, and the identity cannot be used.
    ///
    /// # Errors
    /// When they cannot be read or used, or other users could have changed them.
    pub fn load(files: &Tcp, holder: Option<TlsKeyHolder>) -> Result<Self, ServerError> {
        let file_thread = FileThread::new("tls-files");
        let (read, of_token) = (files.clone(), in_token(holder.as_ref()));
        let stuck = |stuck: NotResponding| {
            let kind = std::io::ErrorKind::TimedOut;
            ServerError::Tls(TlsFault { what: stuck.to_string(), kind, hint: None })
        };
        let material =
            file_thread.run_blocking(move || Material::read(&read, of_token)).map_err(stuck)?.map_err(ServerError::Tls)?;
        material.log_warnings();
        material.warn();
        if let Some(ended) = material.ended_list() {
            tracing::error!("{ended}: no client is admitted over TCP until there is a new one");
        }
        let threads = holder.as_ref().map(|_| HandshakeThreads::start()).transpose();
        let threads = threads.map_err(|error| ServerError::io("cannot start threads for TLS", error))?.map(Arc::new);
        Ok(Self {
            files: files.clone(),
            key: InToken { holder, threads },
            file_thread,
            current: Arc::new(ArcSwap::from_pointee(material)),
            standing: Arc::default(),
            trouble: Arc::default(),
        })
    }

    /// Records the identity in use at startup, as after a change.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub(super) async fn record(&self, authorizer: &Authorizer) -> Result<(), ServerError> {
        Ok(authorizer.record(self.current.load().entry()).await?)
    }

    /// Returns where handshakes run: on threads of their own when the token signs them.
    pub(super) fn handshakes(&self) -> Handle {
        self.key.threads.as_ref().and_then(|threads| threads.handle()).unwrap_or_else(Handle::current)
    }

    pub(super) fn in_force(&self) -> Arc<Material> {
        self.current.load_full()
    }

    /// Notes a connection whose handshake was done with `by`. Returns `None` when its certificate is no longer admitted: the
    /// files have changed during the handshake.
    pub(super) fn admit(
        &self,
        chain: &[CertificateDer<'static>],
        by: &Arc<Material>,
        parent: &CancellationToken,
    ) -> Option<Admitted> {
        let admitted = self.standing.add(chain, parent.child_token());
        // Checked after the connection is registered, so that a concurrent change is detected either here or by the sweep.
        let now = self.in_force();
        (Arc::ptr_eq(&now, by) || now.admits(chain)).then_some(admitted)
    }

    /// Returns whether the files, as they were last read, what is in force, and a key in a token can be used.
    pub(super) fn checked(&self) -> Checked {
        if let Some(holder) = &self.key.holder {
            holder
                .check()
                .map_err(|error| format!("the key {:?} cannot sign, so no client can connect: {error}", holder.label()))?;
        }
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble.as_ref().filter(|trouble| trouble.lasts) {
            Some(Trouble { error, .. }) => Err(format!("{error}; the files that were loaded before stay in force")),
            None => self.in_force().checked(),
        }
    }

    /// Notes the outcome of reading the files. Returns an error that is to be logged: once, and again when a reload was requested.
    fn note(&self, looked: Result<(), String>, asked: bool) -> Option<String> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let Err(error) = looked else {
            *trouble = None;
            return None;
        };
        let is_new = trouble.as_ref().is_none_or(|before| before.error != error);
        let lasts = asked || trouble.is_some();
        *trouble = Some(Trouble { error: error.clone(), lasts });
        (asked || is_new).then_some(error)
    }

    /// Reads the files again every few seconds and on SIGHUP. When they cannot be used, read or recorded, the error is logged
    /// and the old identity stays.
    pub(super) async fn keep_fresh(self, authorizer: Arc<Authorizer>, stop: CancellationToken) {
        let mut hangup = signals::hangup();
        let mut swept = Instant::now();
        loop {
            let requested = tokio::select! {
                () = stop.cancelled() => return,
                () = signals::next(&mut hangup) => true,
                () = tokio::time::sleep(CHECK_INTERVAL) => false,
            };
            let outcome = self.reload(&authorizer, requested).await;
            if let Some(error) = self.note(outcome, requested) {
                tracing::error!(error, "TLS certificates could not be read again: the previous ones stay in use");
            }
            let current = self.in_force();
            current.warn();
            if current.has_lists() && swept.elapsed() >= SWEEP_INTERVAL {
                self.sweep(&current);
                swept = Instant::now();
            }
        }
    }

    async fn reload(&self, authorizer: &Authorizer, requested: bool) -> Result<(), String> {
        let (files, of_token) = (self.files.clone(), in_token(self.key.holder.as_ref()));
        let read = self.file_thread.run(move || Material::read(&files, of_token)).await.map_err(|stuck| stuck.to_string())?;
        let new = read.map_err(|fault| fault.in_full())?;
        let before = self.in_force();
        if new.is_as(&before) {
            if requested {
                tracing::info!("TLS certificates read again: nothing has changed");
            }
            return Ok(());
        }
        if let Some(ended) = new.ended_list() {
            return Err(ended);
        }
        authorizer.record(new.entry()).await.map_err(|error| format!("the change cannot be recorded: {error}"))?;
        let new = Arc::new(new);
        self.current.store(Arc::clone(&new));
        tracing::info!("TLS certificates read again");
        new.log_warnings();
        self.sweep(&new);
        Ok(())
    }

    /// Closes the connections that are no longer admitted.
    fn sweep(&self, current: &Material) {
        let ended = self.standing.end_unless(|chain| current.admits(chain));
        if ended > 0 {
            tracing::warn!(ended, "connections were closed: their certificates are no longer accepted");
        }
    }
}

/// Returns the key's holder, and the runtime that calls the token.
fn in_token(holder: Option<&TlsKeyHolder>) -> Option<(TlsKeyHolder, Handle)> {
    holder.map(|holder| (holder.clone(), Handle::current()))
}

impl Material {
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}
