//! The sections of the configuration and their defaults.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use serde::Deserialize;

use super::TlsKeySetting;

/// `[keys]`: the keys served, by label.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The station's keys on trains' routes; by default the key with the station's id as label.
    pub train: Vec<String>,
    /// Keys for `Sign` and `UnwrapKey`.
    pub general: Vec<String>,
    /// Train keys that `Sign` and `UnwrapKey` may use nevertheless.
    pub raw_use: Vec<String>,
}

/// `[layouts]`: images without an engine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayoutsConfig {
    /// The directory of trains as OCI layouts, `repository:tag` in the directory `repository`. When it is set, no engine is used.
    pub directory: Option<PathBuf>,
    /// The group, by name or number, that may read opened trains there; by default only the service's user may.
    pub group: Option<String>,
}

/// `[state]`: the service's persistent state.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateConfig {
    /// The directory: runs, instance id, lock, PIN latch.
    pub directory: PathBuf,
    /// The directory for the spool of ciphertext; by default the state directory.
    pub spool: Option<PathBuf>,
}

impl StateConfig {
    /// Returns the directory of the spool.
    #[must_use]
    pub fn spool_directory(&self) -> PathBuf {
        self.spool.clone().unwrap_or_else(|| self.directory.clone())
    }
}

/// `[runs]`: how trains are opened.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunsConfig {
    /// The directory that service and engine share, for trains that are opened into a directory.
    pub directory: Option<PathBuf>,
}

/// `[listen]`: where the service listens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The Unix socket's path.
    pub unix: Option<PathBuf>,
    /// Its mode.
    #[serde(default = "Listen::default_unix_mode")]
    pub unix_mode: u32,
    /// Its group, by name or number.
    pub unix_group: Option<String>,
    /// TCP with mutual TLS.
    pub tcp: Option<Tcp>,
    /// Whether any client that can connect may list the available RPCs (gRPC server reflection).
    #[serde(default)]
    pub reflection: bool,
}

impl Listen {
    fn default_unix_mode() -> u32 {
        0o660
    }
}

/// `[listen.tcp]`: TCP with mutual TLS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Address and port.
    #[serde(deserialize_with = "address")]
    pub address: SocketAddr,
    /// The server's certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key: a PEM file, or a PKCS#11 URI of a key in a token.
    pub key: TlsKeySetting,
    /// The CA whose client certificates are accepted, PEM.
    pub client_ca: PathBuf,
    /// Revocation lists of its certificates, PEM or DER.
    pub client_crl: Option<PathBuf>,
}

/// Parses an address with its port; the message of the library does not state what is expected.
fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is not an IP address with a port, such as 127.0.0.1:7443, 0.0.0.0:7443 or [::1]:7443; host names are not resolved"
        ))
    })
}

/// `[access]`: authorisation of callers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// The access file; by default `access.toml` in the configuration's directory.
    pub file: Option<PathBuf>,
}

/// `[limits]`: limits of the service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Concurrent RPCs, over all connections.
    pub requests: usize,
    /// The largest request, in bytes.
    pub request_bytes: usize,
    /// Concurrent RPCs of one principal, over all its connections.
    pub principal_requests: usize,
    /// RPCs that one principal may start per second.
    pub principal_calls_per_s: NonZeroU32,
    /// Refused calls of one principal per minute that are recorded individually; further ones are counted.
    pub principal_refusals_per_min: NonZeroU32,
    /// Concurrent RPCs on one connection.
    pub streams: u32,
    /// Concurrent connections, on the Unix socket and on TCP each.
    pub connections: usize,
    /// Concurrent TLS handshakes.
    pub handshakes: usize,
    /// Maximum time until a new connection sends its first request, in seconds.
    pub silence_s: u64,
    /// Maximum time without progress of a started request or of a waiting response on a connection, in seconds.
    pub stall_s: u64,
    /// Concurrent runs (pre-run, post-run, hash).
    pub runs: usize,
    /// Archives that are received concurrently.
    pub uploads: usize,
    /// The largest archive that a caller may send, in MiB.
    pub upload_mib: u64,
    /// Minimum rate at which an archive must arrive, in KiB per second.
    pub upload_min_kib_s: u64,
    /// Maximum time for receiving an archive, in seconds.
    pub upload_s: u64,
    /// Maximum time until the response to a call without a deadline begins, in seconds.
    pub unary_timeout_s: u64,
    /// How long running calls may continue after SIGTERM, in seconds.
    pub drain_s: u64,
    /// Space that must stay free on the spool's disk, in MiB.
    pub spool_min_free_mib: u64,
    /// Memory for names and trees of images while they are read, of all calls together, in MiB; one call uses at most half of it.
    pub image_memory_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 128,
            request_bytes: 64 * 1024,
            principal_requests: 96,
            principal_calls_per_s: NonZeroU32::new(5000).unwrap_or(NonZeroU32::MIN),
            principal_refusals_per_min: NonZeroU32::new(60).unwrap_or(NonZeroU32::MIN),
            streams: 64,
            connections: 128,
            handshakes: 64,
            silence_s: 10,
            stall_s: 60,
            runs: 4,
            uploads: 8,
            upload_mib: 256 * 1024,
            upload_min_kib_s: 16,
            upload_s: 3600,
            unary_timeout_s: 300,
            drain_s: 30,
            spool_min_free_mib: 512,
            image_memory_mib: 512,
        }
    }
}

/// `[compat]`: compatibility with older software, off unless named.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompatConfig {
    /// Whether the repository's `latest` tag is moved with every written image, as train_lib does.
    pub move_latest: bool,
}

/// `[log]`: the log, on standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Its format.
    pub format: LogFormat,
    /// Filter of log messages: a level, or `target=level` pairs.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".into() }
    }
}

/// The log's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Pretty,
    /// One JSON object per line.
    Json,
}
