//! Authorises a request before anything of it is read, so a refusal reveals nothing about what exists.

use std::{sync::Arc, time::Duration};

use tonic::{body::Body, codegen::http::Request};

use super::rate_limit::RateLimits;
use crate::{
    audit::{Audit, AuditError, Entry, Event},
    authz::{Access, Grants, Permit, Rpc, TO_GRANT},
    config::Limits,
    protocol::Caller,
    server::{
        access_log::Line,
        idle_timeout::{ConnectionActivity, InUse},
    },
    service::{
        Peer,
        refusals::Refusals,
        shares::Place,
        status::{Reason, Refusal},
    },
};

/// Interval at which a running call is checked against the grants and its caller's certificate.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Authorises every request.
pub struct Authorizer {
    access: Access,
    audit: Audit,
    refusals: Arc<Refusals>,
    rate_limits: RateLimits,
}

/// Resources that an admitted request holds while it lives.
pub(in crate::server) struct Admission {
    /// The caller; `None` for health and reflection.
    pub caller: Option<(Caller, Peer)>,
    /// Its place in the caps, and its use of the connection.
    pub held: (Place, Option<InUse>),
}

impl Authorizer {
    /// Makes an authorizer: callers need a grant in `access` and a place within `limits`, and `audit` must be writable.
    #[must_use]
    pub fn new(access: Access, audit: Audit, refusals: Arc<Refusals>, limits: &Limits) -> Self {
        Self { access, audit, refusals, rate_limits: RateLimits::new(limits) }
    }

    /// Returns the account of refused calls.
    pub(in crate::server) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// Checks that the access file grants something.
    ///
    /// # Errors
    /// The reason why not; the text is for the log.
    pub async fn check(&self) -> Result<(), String> {
        self.grants().await?.1.map_err(|error| error.to_string())?;
        let look = self.access.current().await.map_err(|error| error.to_string())?;
        match look.flaw {
            Some(flaw) => Err(flaw.to_string()),
            None if look.value.all().is_empty() => Err(format!("{} grants nothing: {}", self.access.path().display(), TO_GRANT)),
            None => Ok(()),
        }
    }

    /// Records a change of the grants before it takes effect.
    pub(in crate::server) async fn record(&self, entry: Entry) -> Result<(), AuditError> {
        self.audit.record_async(entry).await.map(drop)
    }

    /// Returns the current grants, and whether they are recorded: a changed access file permits nothing before it is in the
    /// audit.
    async fn grants(&self) -> Result<(Arc<Grants>, Result<(), AuditError>), String> {
        let look = self.access.current().await.map_err(|error| format!("{error} ({})", error.hint()))?;
        let mut recorded = Ok(());
        if let Some(digest) = look.new {
            let entry = Entry::of(Event::AccessChanged)
                .with("read_by", "service")
                .with("sha256", const_hex::encode(digest))
                .with("grants", look.value.all().len());
            recorded = self.audit.record_async(entry).await.map(|_| self.access.acknowledge(digest));
        }
        Ok((look.value, recorded))
    }

    /// Admits a request, with a place in the caps and the caller in its extensions; or refuses it.
    pub(super) async fn admit(&self, request: &mut Request<Body>, line: &mut Line, draining: bool) -> Result<Admission, Refusal> {
        let peer = request.extensions().get::<Peer>().cloned();
        // Health and reflection respond from memory and reveal nothing of the station: every peer may call them, within separate
        // caps.
        if request.uri().path().starts_with("/grpc.") {
            let name = peer.as_ref().map_or_else(|| "nobody".to_owned(), Peer::name);
            let place = self.rate_limits.question(&name).map_err(|refusal| self.counted(line, &name, "question", refusal))?;
            return Ok(Admission { caller: None, held: (place, None) });
        }
        let peer = peer.ok_or(Reason::PeerUnknown)?;
        let name = peer.name();
        let rpc = Rpc::from_path(request.uri().path());
        let called = rpc.map_or("unknown", Rpc::name);
        self.rate_limits.in_time(&name).map_err(|refusal| self.counted(line, &name, called, refusal))?;
        if peer.principals().is_none() {
            return Err(self.refuse(line, (&peer, called), Reason::PeerUnknown).await);
        }
        let Some((permit, recorded)) = self.permit(&peer, rpc).await else {
            return Err(self.refuse(line, (&peer, called), Reason::RpcNotAllowed).await);
        };
        // `GetStatus` also works on a station that accepts no other calls, because it reports the problem.
        let is_status = rpc == Some(Rpc::GetStatus);
        let refused = if !recorded || !(is_status || self.audit.is_writable()) {
            Reason::AuditUnavailable.into()
        } else if draining && !is_status {
            Reason::ShuttingDown.into()
        } else {
            match self.rate_limits.place(&name) {
                Ok(place) => {
                    let caller = Caller::new(line.call().to_owned(), name, permit);
                    line.is_of(&caller);
                    request.extensions_mut().insert(caller.clone());
                    let in_use = request.extensions().get::<Arc<ConnectionActivity>>().map(ConnectionActivity::use_it);
                    return Ok(Admission { caller: Some((caller, peer)), held: (place, in_use) });
                }
                Err(refusal) => refusal,
            }
        };
        Err(self.counted(line, &name, called, refused))
    }

    async fn permit(&self, peer: &Peer, rpc: Option<Rpc>) -> Option<(Permit, bool)> {
        let (grants, recorded) = self.grants().await.ok()?;
        Some((grants.decide(peer.principals()?, rpc?)?, recorded.is_ok()))
    }

    /// Resolves when an admitted call must end: its grants were withdrawn, or its caller's certificate has expired.
    pub(super) async fn withdrawn(&self, caller: &Caller, peer: &Peer) -> Refusal {
        let rpc = caller.permit().map(Permit::rpc);
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let permit = self.permit(peer, rpc).await.map(|(permit, _)| permit);
            if !caller.look_again(permit) {
                return Refusal::withdrawn().told_to(caller.principal());
            }
        }
    }

    async fn refuse(&self, line: &mut Line, (peer, called): (&Peer, &'static str), reason: Reason) -> Refusal {
        let name = peer.name();
        let refusal = match (reason, peer.namelessness()) {
            // The client's own certificate is no secret to it.
            (Reason::RpcNotAllowed, Some(why)) => reason.status(why),
            (reason, _) => reason.into(),
        };
        let refusal = refusal.told_to(&name);
        line.set_recorded(self.refusals.refuse_at_the_door((&name, called, line.call()), &refusal).await);
        refusal
    }

    fn counted(&self, line: &mut Line, name: &str, called: &'static str, refusal: Refusal) -> Refusal {
        self.refusals.count(name, called, refusal.reason());
        line.set_recorded(false);
        refusal
    }

    /// Counts a failed TLS handshake. Such failures have no record each, because a client can cause any number of them.
    pub(in crate::server) fn count_failed_handshake(&self) {
        self.refusals.count("nobody", "handshake", Reason::PeerUnknown);
    }

    /// Records the number of refusals without a record.
    pub async fn record_counted(&self) {
        self.rate_limits.forget();
        self.refusals.sum_up().await;
    }
}
