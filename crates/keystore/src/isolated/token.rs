//! A token in another process, as the service sees it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::Builder,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    shared::{ENDED, Shared, lock},
    supervisor::start,
    wire::{Numbered, Request, Response, Seen},
};
use crate::{
    Isolation, KeyDescription, KeyId, KeyUses, KeystoreConfig, KeystoreError,
    identities::Identities,
    operation::{Operation, Outcome},
    pkcs11::Needed,
    trial_log::Trials,
    verify::PublicKeys,
};

/// A token whose module is in a process of its own.
pub(crate) struct Isolated(Arc<Shared>);

impl Isolated {
    /// Starts the process, which opens the token. Blocks until it has.
    pub(crate) fn open(
        config: &KeystoreConfig,
        isolation: &Isolation,
        needed: Needed,
        trials: &Trials,
        identities: &Identities,
    ) -> Result<Self, KeystoreError> {
        let (link, seen) = start(config, isolation, needed, trials, identities)?;
        let socket = link.socket.clone();
        let shared = Arc::new(Shared {
            config: config.clone(),
            isolation: isolation.clone(),
            needed,
            trials: Arc::clone(trials),
            identities: identities.clone(),
            link: Mutex::new(Some(link)),
            seen: Mutex::new(seen),
            public: PublicKeys::default(),
            before: Mutex::default(),
            calls: Mutex::default(),
            last_answer: Mutex::new(Instant::now()),
            next: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            given_up: CancellationToken::new(),
        });
        let of_thread = Arc::clone(&shared);
        Builder::new()
            .name("hsm-process".to_owned())
            .spawn(move || of_thread.supervise(socket))
            .map_err(|_| KeystoreError::Unavailable { reason: "no thread could be started" })?;
        Ok(Self(shared))
    }

    pub(crate) async fn carry_out(
        &self,
        caller: &Arc<str>,
        id: KeyId,
        operation: Operation<'_>,
        deadline: Option<Instant>,
    ) -> Outcome {
        let caller = caller.to_string();
        let left = remaining(deadline)?;
        let request = match operation {
            Operation::Sign { scheme, signed } => Request::Sign { caller, id, scheme, signed: signed.to_vec(), deadline: left },
            Operation::Unwrap { scheme, wrapped } => {
                Request::Unwrap { caller, id, scheme, wrapped: wrapped.to_vec(), deadline: left }
            }
        };
        let Response::Bytes { bytes, uses } = self.0.call(request, deadline).await? else { return Err(ENDED) };
        lock(&self.0.seen).uses = uses;
        let bytes = Zeroizing::new(bytes);
        if let Operation::Sign { scheme, signed } = operation {
            let spki = lock(&self.0.seen).keys.iter().find(|key| key.id == id).map(|key| key.spki_der.clone());
            // Verified here, too: the process with the vendor's library is not trusted.
            if !spki.is_some_and(|spki| self.0.public.signature_holds(id, &spki, scheme, signed, &bytes)) {
                return Err(KeystoreError::SignatureInvalid);
            }
        }
        Ok(bytes)
    }

    pub(crate) async fn find(
        &self,
        caller: &Arc<str>,
        label: &str,
        deadline: Option<Instant>,
    ) -> Result<KeyDescription, KeystoreError> {
        let request = Request::Find { caller: caller.to_string(), label: label.to_owned(), deadline: remaining(deadline)? };
        match self.0.call(request, deadline).await? {
            Response::Key(key, seen) => {
                self.0.note(*seen);
                Ok(*key)
            }
            _ => Err(ENDED),
        }
    }

    pub(crate) async fn check(&self, deadline: Option<Instant>) -> Result<(), KeystoreError> {
        match self.0.call(Request::Check { deadline: remaining(deadline)?, identities: self.0.identities.all() }, deadline).await
        {
            Ok(Response::Done(seen)) => {
                self.0.note(*seen);
                Ok(())
            }
            Ok(_) => Err(ENDED),
            Err(error) => {
                if error == KeystoreError::DeadlineExceeded {
                    self.0.end_silent_process();
                }
                Err(error)
            }
        }
    }

    /// Returns the token as its process described it last.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.0.seen).clone()
    }

    pub(crate) fn serves(&self, id: KeyId) -> bool {
        let seen = lock(&self.0.seen);
        seen.ready.is_ok() && seen.keys.iter().any(|key| key.id == id)
    }

    /// Returns the number of key uses so far, by all processes.
    pub(crate) fn uses(&self) -> KeyUses {
        let (before, now) = (*lock(&self.0.before), lock(&self.0.seen).uses);
        KeyUses { signatures: before.signatures + now.signatures, decryptions: before.decryptions + now.decryptions }
    }

    pub(crate) fn waiting(&self) -> usize {
        lock(&self.0.calls).len().saturating_sub(self.0.config.session_count())
    }

    pub(crate) fn give_up(&self) {
        self.0.given_up.cancel();
    }

    /// Ends the process: in order if it answers, else at once.
    pub(crate) fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
        if let Some(mut link) = lock(&self.0.link).take() {
            let _ = link.socket.send(&Numbered { number: 0, body: Request::Close });
            link.process.end();
        }
        lock(&self.0.calls).clear();
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        self.close();
    }
}

fn remaining(deadline: Option<Instant>) -> Result<Option<Duration>, KeystoreError> {
    match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
        Some(left) if left.is_zero() => Err(KeystoreError::DeadlineExceeded),
        left => Ok(left),
    }
}
