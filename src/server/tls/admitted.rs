//! Open connections and the certificates that admitted them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

type Known = HashMap<u64, (Vec<CertificateDer<'static>>, CancellationToken)>;

/// The open connections.
#[derive(Default)]
pub(super) struct AdmittedConnections {
    known: Mutex<(u64, Known)>,
}

impl AdmittedConnections {
    pub(super) fn add(self: &Arc<Self>, chain: &[CertificateDer<'static>], end: CancellationToken) -> Admitted {
        let mut known = self.known();
        let number = known.0;
        known.0 += 1;
        known.1.insert(number, (chain.to_vec(), end.clone()));
        Admitted { number, end, among: Arc::clone(self) }
    }

    /// Closes the connections whose chain is not admitted; returns their number.
    pub(super) fn end_unless(&self, is_admitted: impl Fn(&[CertificateDer<'static>]) -> bool) -> usize {
        // Outside the lock, because verification takes time.
        let all: Vec<_> = self.known().1.values().cloned().collect();
        let refused = all.into_iter().filter(|(chain, end)| !end.is_cancelled() && !is_admitted(chain));
        refused.inspect(|(_, end)| end.cancel()).count()
    }

    fn known(&self) -> MutexGuard<'_, (u64, Known)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registration of an open connection, removed when dropped.
pub(in crate::server) struct Admitted {
    number: u64,
    end: CancellationToken,
    among: Arc<AdmittedConnections>,
}

impl Admitted {
    /// Cancelled when the connection's certificate is no longer admitted, or work must stop.
    pub(crate) fn end(&self) -> CancellationToken {
        self.end.clone()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.among.known().1.remove(&self.number);
    }
}
