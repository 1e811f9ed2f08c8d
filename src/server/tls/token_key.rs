//! The service's key in a token, as rustls signs with it.

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    pki_types::SubjectPublicKeyInfoDer,
    sign::{Signer, SigningKey},
};
use stationmaster_keystore::{Hash, SignScheme};
use tokio::runtime::Handle;

use crate::{protocol::TlsKey, server::log_throttle::LogThrottle};

/// How long a handshake waits for the token: the keystore has given up by [`TIMEOUT`], unless the runtime itself hangs.
const TIMEOUT: Duration = Duration::from_secs(3);
const MARGIN: Duration = Duration::from_millis(500);

/// The schemes of handshakes (RFC 8446 §4.2.3) with those of the keystore, in the order of preference. The salt of PSS is as long as
/// the digest in both, and signatures have the same encoding.
const SCHEMES: [(SignatureScheme, SignScheme, SignatureAlgorithm); 6] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, SignScheme::EcdsaP256, SignatureAlgorithm::ECDSA),
    (SignatureScheme::ECDSA_NISTP384_SHA384, SignScheme::EcdsaP384, SignatureAlgorithm::ECDSA),
    (SignatureScheme::ED25519, SignScheme::Ed25519, SignatureAlgorithm::ED25519),
    (SignatureScheme::RSA_PSS_SHA256, SignScheme::Pss(Hash::Sha256), SignatureAlgorithm::RSA),
    (SignatureScheme::RSA_PSS_SHA384, SignScheme::Pss(Hash::Sha384), SignatureAlgorithm::RSA),
    (SignatureScheme::RSA_PSS_SHA512, SignScheme::Pss(Hash::Sha512), SignatureAlgorithm::RSA),
];

/// A key in a token.
pub(super) struct TokenKey {
    key: TlsKey,
    /// The schemes that the key's trial found to work.
    schemes: Vec<(SignatureScheme, SignScheme)>,
    algorithm: SignatureAlgorithm,
    waiter: Arc<Waiter>,
}

/// Waits for signatures of the token.
struct Waiter {
    /// The runtime that calls the token. Signatures are waited for on other threads, so this one never waits for itself.
    runtime: Handle,
    failed: LogThrottle,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TokenKey").field("label", &self.key.label()).finish_non_exhaustive()
    }
}

impl TokenKey {
    /// Makes the key for rustls; `None` when the token can use it with no scheme of TLS 1.3. The runtime calls the token.
    pub(super) fn new(key: TlsKey, runtime: Handle) -> Option<Self> {
        let usable: Vec<_> = SCHEMES.into_iter().filter(|(_, scheme, _)| key.can_sign(*scheme)).collect();
        let algorithm = usable.first()?.2;
        let schemes = usable.into_iter().map(|(of_tls, scheme, _)| (of_tls, scheme)).collect();
        Some(Self { key, schemes, algorithm, waiter: Arc::new(Waiter { runtime, failed: LogThrottle::new() }) })
    }
}

impl SigningKey for TokenKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let (of_tls, scheme) = *self.schemes.iter().find(|(of_tls, _)| offered.contains(of_tls))?;
        Some(Box::new(TokenSigner { key: self.key.clone(), of_tls, scheme, waiter: Arc::clone(&self.waiter) }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.key.spki_der().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

/// One signature with a chosen scheme.
struct TokenSigner {
    key: TlsKey,
    of_tls: SignatureScheme,
    scheme: SignScheme,
    waiter: Arc<Waiter>,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TokenSigner").field("scheme", &self.of_tls).finish_non_exhaustive()
    }
}

impl Signer for TokenSigner {
    /// Blocks its thread until the token has signed. Only threads of [`HandshakeThreads`](super::threads::HandshakeThreads) do
    /// handshakes with a key in a token.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let digest = digest(self.scheme, message);
        let (key, scheme, deadline) = (self.key.clone(), self.scheme, Instant::now() + TIMEOUT);
        let (reply, answer) = mpsc::sync_channel(1);
        self.waiter.runtime.spawn(async move {
            let _ = reply.send(key.sign(scheme, &digest, deadline).await);
        });
        let signed = match answer.recv_timeout(TIMEOUT + MARGIN) {
            Ok(signed) => signed.map_err(|error| error.to_string()),
            Err(_) => Err("no response".to_owned()),
        };
        signed.map_err(|error| {
            let label = self.key.label();
            self.waiter.failed.log(|times| tracing::warn!(key = label, error, times, "the token did not sign a TLS handshake"));
            Error::General(format!("the token did not sign: {error}"))
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.of_tls
    }
}

/// Returns what the scheme signs: the digest, or the message itself.
fn digest(scheme: SignScheme, message: &[u8]) -> Vec<u8> {
    match scheme.hash() {
        None => message.to_vec(),
        Some(Hash::Sha256) => openssl::sha::sha256(message).to_vec(),
        Some(Hash::Sha384) => openssl::sha::sha384(message).to_vec(),
        Some(Hash::Sha512) => openssl::sha::sha512(message).to_vec(),
    }
}
