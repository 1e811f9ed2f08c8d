//! Who comes in. Nothing of a request is looked at before this has let it pass, so a refusal tells nothing of what exists.

use std::sync::Arc;

use tonic::{body::Body, codegen::http::Request};

use super::caps::Caps;
use crate::{
    access::{Access, Grants, Permit, Rpc},
    audit::{Audit, AuditError, Entry, Event},
    config::Limits,
    protocol::Caller,
    server::observe::Slot,
    service::{
        Peer,
        status::{Reason, Refusal},
    },
};

/// Decides over every request.
pub struct Doorkeeper {
    access: Access,
    audit: Audit,
    caps: Caps,
}

impl Doorkeeper {
    /// Lets in whom `access` grants something, as far as `limits` allow, while `audit` can be written.
    #[must_use]
    pub fn new(access: Access, audit: Audit, limits: &Limits) -> Self {
        Self { access, audit, caps: Caps::new(limits) }
    }

    /// Whether anybody has been granted anything.
    ///
    /// # Errors
    /// Why not; the text is for the log.
    pub async fn check(&self) -> Result<(), String> {
        self.grants().await?.1.map_err(|error| error.to_string())
    }

    /// What is granted now, and whether that is in the audit: before a changed access file is, nothing is done by it.
    async fn grants(&self) -> Result<(Arc<Grants>, Result<(), AuditError>), String> {
        let look = self.access.current().map_err(|error| format!("{error} ({})", error.hint()))?;
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

    /// Lets a request in, with a place of the caps and the caller in its extensions; or refuses it.
    pub(super) async fn enter(&self, request: &mut Request<Body>, draining: bool) -> Result<Option<Slot>, Refusal> {
        // Health and reflection answer from memory and tell nothing of the station's; health must answer when all else is busy.
        if request.uri().path().starts_with("/grpc.") {
            return Ok(None);
        }
        let peer = request.extensions().get::<Peer>().cloned();
        let principals = peer.as_ref().and_then(Peer::principals).ok_or_else(|| Refusal::from(Reason::PeerUnknown))?;
        let name = principals.name();
        let rpc = Rpc::from_path(request.uri().path());
        let called = rpc.map_or("unknown", Rpc::name);
        if !self.caps.is_in_time(&name) {
            self.caps.count(&name, called, Reason::Overloaded);
            return Err(Reason::Overloaded.status("too many calls in a short time"));
        }
        let Some((permit, recorded)) = self.permit(&peer, rpc).await else {
            return Err(self.not_allowed(&name, called).await);
        };
        let refused = if !recorded || !self.audit.is_writable() {
            Reason::AuditUnavailable
        } else if draining {
            Reason::ShuttingDown
        } else {
            match self.caps.slot(&name) {
                Ok(slot) => {
                    request.extensions_mut().insert(Caller::new(name, permit));
                    return Ok(Some(slot));
                }
                Err(refusal) => refusal.reason(),
            }
        };
        self.caps.count(&name, called, refused);
        Err(refused.into())
    }

    async fn permit(&self, peer: &Option<Peer>, rpc: Option<Rpc>) -> Option<(Permit, bool)> {
        let (grants, recorded) = self.grants().await.ok()?;
        Some((grants.decide(peer.as_ref()?.principals()?, rpc?)?, recorded.is_ok()))
    }

    async fn not_allowed(&self, name: &str, called: &'static str) -> Refusal {
        let refusal = Refusal::from(Reason::RpcNotAllowed);
        if self.caps.is_recorded(name) {
            let entry = Entry { principal: Some(name.to_owned()), rpc: Some(called.to_owned()), ..Entry::default() };
            // Refused it is, recorded or not.
            let _ = self.audit.record_async(refusal.recorded(entry)).await;
        } else {
            self.caps.count(name, called, Reason::RpcNotAllowed);
        }
        refusal
    }

    /// Counts somebody who did not get through a TLS handshake. Such have no record each: they may come as fast as they like.
    pub(in crate::server) fn turned_away(&self) {
        self.caps.count("nobody", "handshake", Reason::PeerUnknown);
    }

    /// Records how many refusals had no record of their own.
    pub async fn record_counted(&self) {
        for ((principal, rpc, reason), count) in self.caps.take_counted() {
            let entry = Entry {
                principal: Some(principal),
                rpc: Some(rpc.to_owned()),
                outcome: Some(reason.to_owned()),
                ..Entry::of(Event::Refusals)
            };
            let _ = self.audit.record_async(entry.with("count", count)).await;
        }
    }
}
