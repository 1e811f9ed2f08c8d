//! Signatures of the log's checkpoints.

use std::{sync::atomic::Ordering, time::Instant};

use stationmaster_keystore::KeystoreError;

use super::{AuditedKeys, key_ref, trials::token_uses};
use crate::{
    audit::{Covered, Entry, Event, checkpoint},
    protocol::context::{caller::Caller, key_errors::KeyUseError, station_key::checkpoint_scheme},
};

impl AuditedKeys {
    /// Signs a checkpoint of the log with the audit's own key. Returns what it covers.
    ///
    /// # Errors
    /// [`KeyUseError`].
    pub async fn checkpoint(&self, label: &str, deadline: Option<Instant>) -> Result<Covered, KeyUseError> {
        let caller = Caller::service("checkpoint");
        let key = self.station_key(self.keystore.find(label, deadline).await?)?;
        let scheme = checkpoint_scheme(key.description.key_type).ok_or(KeystoreError::KeyUnusable {
            label: label.to_owned(),
            reason: "checkpoints are signed with RSA, EC P-256 or Ed25519",
        })?;
        // Read before the record is written: every use counted here is already announced in the log.
        let uses = self.keystore.key_uses();
        // Read after the token's count: it contains every handshake that is counted there.
        let of_tls = self.purposes.tls().map(|_| self.tls_signatures.load(Ordering::Acquire));
        let entry = Entry {
            key: Some(key_ref(&key)),
            operation: Some("checkpoint".to_owned()),
            scheme: Some(scheme.name().to_owned()),
            ..caller.entry(Event::KeyUse)
        };
        let covered = self.audit.begin_checkpoint(entry).await?;
        let origin = format!("stationmaster/{}", self.audit.origin());
        let text = checkpoint::text(&origin, &covered);
        let digest = checkpoint::digest(&text);
        let to_sign = if scheme.hash().is_some() { &digest[..] } else { text.as_bytes() };
        let signed = self.keystore.sign(key.id(), scheme, to_sign, deadline).await;
        let entry = match &signed {
            Ok(signature) => with_handshakes(Entry { outcome: Some("ok".to_owned()), ..caller.entry(Event::Checkpoint) }, of_tls)
                .with("size", covered.size)
                .with("token", token_uses(uses))
                .with("note", checkpoint::signed(&text, &origin, &key.description.spki_der, signature)),
            Err(error) => {
                Entry { outcome: Some("failed".to_owned()), detail: Some(error.to_string()), ..caller.entry(Event::KeyUsed) }
            }
        };
        self.audit.record_async(Entry { of: Some(covered.size), ..entry }).await?;
        signed?;
        Ok(covered)
    }
}

/// Adds the number of signatures of TLS handshakes since the start, if their key is in the token.
fn with_handshakes(entry: Entry, signatures: Option<u64>) -> Entry {
    match signatures {
        Some(signatures) => entry.with("tls", serde_json::json!({ "signatures": signatures })),
        None => entry,
    }
}
