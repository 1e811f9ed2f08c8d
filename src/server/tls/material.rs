//! Content of the TLS files, read at one moment.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, UnixTime},
    server::{ResolvesServerCert, ResolvesServerCertUsingSni, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use stationmaster_system::files::{
    guarded,
    guarded::{GuardError, Reader, Secrecy},
};
use stationmaster_train::digest::{FileHasher, Sha256Digest};
use tokio::runtime::Handle;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{
    own::{self, flaw},
    token_key::TokenKey,
};
use crate::{
    audit::{Entry, Event, KeyRef},
    config::Tcp,
    protocol::TlsKeyHolder,
    server::{TlsFault, health::Checked},
};

/// Maximum size of a file in bytes: a revocation list of a million certificates.
const LIMIT: u64 = 64 << 20;
/// Maximum number of fingerprints of authorities and lists in a record; the files' digests cover the rest.
const RECORDED: usize = 16;
const WEEK: i64 = 7 * 86_400;

/// Certificate, key, authorities and revocation lists.
pub(in crate::server) struct Material {
    pub(super) config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// Digest of the files' bytes.
    digest: Sha256Digest,
    entry: Entry,
    server: Term,
    lists: Option<Term>,
    warnings: Vec<String>,
}

/// A period of validity.
struct Term {
    what: String,
    from: i64,
    until: i64,
    /// The warnings logged so far: none, that it ends soon, that it has ended.
    reported: AtomicU8,
}

struct File {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
}

impl File {
    fn read(path: &Path, holds: Secrecy) -> Result<Self, TlsFault> {
        let bytes = guarded::read(path, Reader::Service, holds, LIMIT).map_err(|refused| {
            let kind = refused.kind();
            let what = match refused {
                // These messages already name the path.
                GuardError::Rule(why) | GuardError::NotAFile(why) => why,
                other => format!("{}: {other}", path.display()),
            };
            TlsFault { what, kind, hint: None }
        })?;
        Ok(Self { path: path.to_owned(), bytes: Zeroizing::new(bytes) })
    }

    fn sha256(&self) -> String {
        Sha256Digest::of(&self.bytes).to_hex()
    }
}

impl Material {
    /// Reads the files. Blocks. Without its holder, a key in a token is not looked at, and no handshake can be done.
    pub(crate) fn read(files: &Tcp, holder: Option<(TlsKeyHolder, Handle)>) -> Result<Self, TlsFault> {
        let cert = File::read(&files.cert, Secrecy::Plain)?;
        let key = files.key.file().map(|path| File::read(path, Secrecy::Secret)).transpose()?;
        let ca = File::read(&files.client_ca, Secrecy::Plain)?;
        let crl = files.client_crl.as_deref().map(|path| File::read(path, Secrecy::Plain)).transpose()?;

        let chain = own::certificates(&cert.path, &cert.bytes)?;
        own::check(&cert.path, &chain[0])?;
        let leaf = chain[0].clone();
        let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|error| flaw(&cert.path, error))?;
        let shown = cert.path.display();
        let mut warnings: Vec<String> = own::weaknesses(&parsed)
            .into_iter()
            .map(|weakness| format!("the service's certificate {shown}: {weakness}"))
            .collect();
        let authorities = own::certificates(&ca.path, &ca.bytes)?;
        let lists = match &crl {
            Some(crl) => own::revocation_lists(&crl.path, &crl.bytes)?,
            None => Vec::new(),
        };

        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| flaw(&ca.path, format!("no CA certificate: {error}")))?;
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let mut term = None;
        if let Some(crl) = &crl {
            let (of_lists, missing) = lists_term(&crl.path, &lists, &authorities)?;
            warnings.extend(missing);
            term = Some(of_lists);
            // Every certificate of a chain must be known as not revoked, by a list that has not expired.
            verifier = verifier.with_crls(lists.iter().cloned()).enforce_revocation_expiration();
        }
        let of_clients = crl.as_ref().map_or(&ca.path, |crl| &crl.path);
        let verifier = verifier.build().map_err(|error| flaw(of_clients, error))?;

        let identity = match &key {
            Some(key) => OwnKey::in_file(&cert.path, chain, key, &provider)?,
            None => OwnKey::in_token(&cert.path, chain, holder)?,
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| flaw(&cert.path, error))?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(identity.resolver);
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session does not present its certificate again: the certificate could be revoked by now.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;

        let mut digest = FileHasher::new();
        let of_key = key.as_ref().map_or(&identity.public_key[..], |key| &key.bytes);
        for bytes in [Some(&cert.bytes[..]), Some(of_key), Some(&ca.bytes[..]), crl.as_ref().map(|crl| &crl.bytes[..])]
            .into_iter()
            .flatten()
        {
            digest.update(&(bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        }
        let prints = |ders: &mut dyn Iterator<Item = &[u8]>| {
            ders.take(RECORDED).map(|der| Sha256Digest::of(der).to_hex()).collect::<Vec<_>>()
        };
        let mut entry = Entry::of(Event::TlsChanged)
            .with("read_by", "service")
            .with("certificate", Sha256Digest::of(&leaf).to_hex())
            .with("client_ca", ca.sha256())
            .with("authorities", prints(&mut authorities.iter().map(AsRef::as_ref)));
        if let Some(crl) = &crl {
            entry = entry.with("client_crl", crl.sha256()).with("revocation_lists", prints(&mut lists.iter().map(AsRef::as_ref)));
        }
        entry.key = identity.reference;
        let validity = parsed.validity();
        let server = Term::new(
            format!("the service's certificate {}", cert.path.display()),
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        Ok(Self { config: Arc::new(config), verifier, digest: digest.finish(), entry, server, lists: term, warnings })
    }

    /// Whether the files had the same content.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Returns the record that is written before the material takes effect.
    pub(crate) fn entry(&self) -> Entry {
        self.entry.clone()
    }

    /// Whether revocation lists are checked.
    pub(crate) fn has_lists(&self) -> bool {
        self.lists.is_some()
    }

    /// Whether a client's chain, its own certificate first, would be admitted now.
    pub(crate) fn admits(&self, chain: &[CertificateDer<'static>]) -> bool {
        let Some((own, others)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(own, others, UnixTime::now()).is_ok()
    }

    /// Returns a message if a revocation list has expired.
    pub(crate) fn ended_list(&self) -> Option<String> {
        let lists = self.lists.as_ref().filter(|lists| lists.until <= now())?;
        Some(format!("{} expired on {}", lists.what, date(lists.until)))
    }

    /// Logs the defects of the material when it is taken into use.
    pub(crate) fn log_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }

    /// Logs what expires soon or has expired, each once.
    pub(crate) fn warn(&self) {
        for (term, then) in self.terms() {
            term.warn(now(), then);
        }
    }

    /// Returns the warnings about the material, or why no client can be admitted with it now.
    pub(crate) fn checked(&self) -> Checked {
        let mut warnings = self.warnings.clone();
        for (term, then) in self.terms() {
            match term.said(now(), then) {
                Some((said, Level::Over)) => return Err(said),
                Some((said, Level::Soon)) => warnings.push(said),
                None => {}
            }
        }
        Ok((!warnings.is_empty()).then(|| warnings.join("; ")))
    }

    /// Returns what has a period of validity, and what follows when it is over.
    fn terms(&self) -> impl Iterator<Item = (&Term, &'static str)> {
        let lists = self.lists.as_ref().map(|lists| (lists, "no client is admitted over TCP"));
        [(&self.server, "clients refuse it")].into_iter().chain(lists)
    }
}

/// Certificates, DER.
pub(super) struct Certificates {
    /// The service's, and those after it in its file.
    pub own: Vec<Vec<u8>>,
    /// The authorities of clients.
    pub authorities: Vec<Vec<u8>>,
}

/// Returns the certificates in the files.
pub(super) fn certificates(files: &Tcp) -> Result<Certificates, TlsFault> {
    let of = |path: &Path| -> Result<Vec<Vec<u8>>, TlsFault> {
        let file = File::read(path, Secrecy::Plain)?;
        Ok(own::certificates(&file.path, &file.bytes)?.iter().map(|der| der.to_vec()).collect())
    };
    Ok(Certificates { own: of(&files.cert)?, authorities: of(&files.client_ca)? })
}

/// The service's certificate with its key.
struct OwnKey {
    resolver: Arc<dyn ResolvesServerCert>,
    /// SubjectPublicKeyInfo of a key in a token, DER; empty for a key in a file.
    public_key: Vec<u8>,
    /// A key in a token, for the record that precedes its use.
    reference: Option<KeyRef>,
}

impl OwnKey {
    fn in_file(
        cert: &Path,
        chain: Vec<CertificateDer<'static>>,
        key: &File,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsFault> {
        let certified = CertifiedKey::from_der(chain, own::private_key(&key.path, &key.bytes)?, provider)
            .map_err(|error| own::not_taken(cert, &key.path, &error))?;
        Ok(Self { resolver: Arc::new(SingleCertAndKey::from(certified)), public_key: Vec::new(), reference: None })
    }

    fn in_token(
        cert: &Path,
        chain: Vec<CertificateDer<'static>>,
        holder: Option<(TlsKeyHolder, Handle)>,
    ) -> Result<Self, TlsFault> {
        let Some((holder, runtime)) = holder else {
            let resolver = Arc::new(ResolvesServerCertUsingSni::new());
            return Ok(Self { resolver, public_key: Vec::new(), reference: None });
        };
        let key = holder.key().map_err(|error| own::unusable_in_token(holder.label(), &error))?;
        let (public_key, reference) = (key.spki_der().to_vec(), key.reference());
        let signing = TokenKey::new(key, runtime).ok_or_else(|| own::no_scheme(holder.label()))?;
        let certified = CertifiedKey::new(chain, Arc::new(signing));
        certified.keys_match().map_err(|error| own::not_of_token(cert, &reference, &error))?;
        let resolver = Arc::new(SingleCertAndKey::from(certified));
        Ok(Self { resolver, public_key, reference: Some(reference) })
    }
}

/// How urgent the message about a period of validity is.
#[derive(Clone, Copy)]
enum Level {
    /// It ends soon.
    Soon = 1,
    /// It has ended, or has not begun.
    Over = 2,
}

impl Term {
    fn new(what: String, from: i64, until: i64) -> Self {
        Self { what, from, until, reported: AtomicU8::new(0) }
    }

    /// Returns the message about the period, if there is something to say.
    fn said(&self, now: i64, then: &str) -> Option<(String, Level)> {
        // A tenth of its validity before the end, and a week at most.
        let soon = self.until - ((self.until - self.from) / 10).clamp(0, WEEK);
        if now >= self.until {
            Some((format!("{} expired on {}: {then}", self.what, date(self.until)), Level::Over))
        } else if now < self.from {
            Some((format!("{} is valid only from {}: {then}", self.what, date(self.from)), Level::Over))
        } else if now >= soon {
            Some((format!("{} expires on {}; then {then}", self.what, date(self.until)), Level::Soon))
        } else {
            None
        }
    }

    fn warn(&self, now: i64, then: &str) {
        let Some((said, level)) = self.said(now, then) else { return };
        if self.reported.swap(level as u8, Ordering::AcqRel) != level as u8 {
            tracing::warn!("{said}");
        }
    }
}

/// Returns the period until the first of the lists expires. A list that cannot be used, or whose kind is not supported, is
/// refused; an authority without a list causes a warning, since none of its clients will be admitted.
fn lists_term(
    file: &Path,
    lists: &[impl AsRef<[u8]>],
    authorities: &[CertificateDer<'_>],
) -> Result<(Term, Vec<String>), TlsFault> {
    let (mut from, mut until) = (i64::MIN, i64::MAX);
    let mut issuers = Vec::new();
    for list in lists {
        let (_, parsed) = CertificateRevocationList::from_der(list.as_ref())
            .map_err(|error| flaw(file, format!("no revocation list: {error}")))?;
        if parsed.version().is_none_or(|version| version.0 != 1) {
            let text = "the revocation list is version 1; version 2 is required, which needs extensions: `crl_extensions` in openssl's \
                        configuration (docs/tls.md)";
            return Err(flaw(file, text));
        }
        let Some(next) = parsed.next_update() else {
            return Err(flaw(file, "the revocation list has no end of validity (nextUpdate)"));
        };
        from = from.max(parsed.last_update().timestamp());
        until = until.min(next.timestamp());
        issuers.push(parsed.issuer().as_raw().to_vec());
    }
    let file = file.display();
    let mut missing = Vec::new();
    for authority in authorities {
        if let Ok((_, parsed)) = X509Certificate::from_der(authority)
            && !issuers.iter().any(|issuer| issuer == parsed.subject().as_raw())
        {
            missing.push(format!("{file} has no list of the CA {}: none of its clients is admitted", parsed.subject()));
        }
    }
    Ok((Term::new(format!("the client revocation list {file}"), from, until), missing))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}
