//! The sections of the configuration and their defaults.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use serde::Deserialize;

/// `[token]`: the PKCS#11 token and how to log in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The PKCS#11 module (a shared library).
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// The token's serial number, needed when labels are not unique.
    pub serial: Option<String>,
    /// A file whose first line is the user PIN.
    pub pin_file: Option<PathBuf>,
    /// The name of a systemd credential that contains the user PIN.
    pub pin_credential: Option<String>,
    /// The name of an environment variable that contains the user PIN.
    pub pin_env: Option<String>,
    /// Number of sessions, each with its own thread; 0 means one per processor.
    #[serde(default)]
    pub sessions: usize,
    /// Number of requests that may wait for a session.
    #[serde(default = "Token::default_queue")]
    pub queue: usize,
    /// Whether a token without native OAEP-SHA-512 may be used through raw RSA.
    #[serde(default)]
    pub allow_raw_unwrap: bool,
}

/// The source of the PIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSetting {
    /// A file.
    File(PathBuf),
    /// A systemd credential.
    Credential(String),
    /// An environment variable.
    Env(String),
    /// No source is set: the terminal is asked.
    Prompt,
}

impl Token {
    fn default_queue() -> usize {
        256
    }

    /// Returns the source of the PIN. At most one is set once the configuration has been checked.
    #[must_use]
    pub fn pin(&self) -> PinSetting {
        if let Some(file) = &self.pin_file {
            PinSetting::File(file.clone())
        } else if let Some(name) = &self.pin_credential {
            PinSetting::Credential(name.clone())
        } else if let Some(name) = &self.pin_env {
            PinSetting::Env(name.clone())
        } else {
            PinSetting::Prompt
        }
    }

    /// Returns the number of sessions to open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        match self.sessions {
            0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            count => count,
        }
    }
}

/// `[keys]`: the keys served, by label.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// The station's keys on trains' routes; by default the key with the station's id as label.
    pub train: Vec<String>,
    /// Keys for `Sign` and `UnwrapKey`.
    pub general: Vec<String>,
    /// Train keys that `Sign` and `UnwrapKey` may use nevertheless.
    pub raw_use: Vec<String>,
}

/// `[engine]`: the container engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Its Unix socket, `unix:///path`.
    pub socket: String,
    /// Maximum time until the response to a request begins, in seconds.
    pub timeout_s: u64,
    /// Whether only the new layer of an image is sent to the engine.
    pub partial_load: PartialLoad,
}

/// Whether only the new layer of an image or the whole image is sent to the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartialLoad {
    /// Only the new layer; the whole image from then on when the engine refuses it.
    #[default]
    Auto,
    /// Always the whole image.
    Never,
}

impl Default for Engine {
    fn default() -> Self {
        // As every client of the engine does; this service does not use an engine over TCP ([`Engine::passed_over`]).
        let named = std::env::var("DOCKER_HOST").ok().filter(|host| host.starts_with("unix://"));
        Self {
            socket: named.unwrap_or_else(|| "unix:///var/run/docker.sock".into()),
            timeout_s: 1200,
            partial_load: PartialLoad::Auto,
        }
    }
}

impl Engine {
    /// Returns the engine that `docker` would use in this environment, if this service does not support it: by `DOCKER_HOST`, `DOCKER_CONTEXT`
    /// or docker's own configuration. A socket that the configuration names has precedence over the environment.
    #[must_use]
    pub fn passed_over(&self) -> Option<String> {
        if self.socket != Self::default().socket {
            return None;
        }
        Self::named_elsewhere(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Returns the engine that an environment names, if it is not a Unix socket.
    fn named_elsewhere(set: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        if let Some(host) = set("DOCKER_HOST") {
            return (!host.starts_with("unix://")).then(|| format!("DOCKER_HOST={host}"));
        }
        let is_other = |context: &String| context != "default";
        if let Some(context) = set("DOCKER_CONTEXT") {
            return Some(context).filter(is_other).map(|context| format!("DOCKER_CONTEXT={context}"));
        }
        let directory = set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".docker")))?;
        let file = directory.join("config.json");
        let docker: DockerConfig =
            serde_json::from_slice(&stationmaster_system::files::input::read(&file, 1 << 20).ok()?).ok()?;
        let context = docker.current_context.filter(|context| !context.is_empty()).filter(is_other)?;
        Some(format!("the context {context:?} of {}", file.display()))
    }

    /// Returns the maximum time until the response to a request begins.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

/// The part of Docker's `config.json` that selects the engine.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

/// `[layouts]`: images without an engine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layouts {
    /// The directory of trains as OCI layouts, `repository:tag` in the directory `repository`. When it is set, no engine is used.
    pub directory: Option<PathBuf>,
    /// The group, by name or number, that may read opened trains there; by default only the service's user may.
    pub group: Option<String>,
}

/// `[state]`: the service's persistent state.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The directory: runs, instance id, lock, PIN latch.
    pub directory: PathBuf,
    /// The directory for the spool of ciphertext; by default the state directory.
    pub spool: Option<PathBuf>,
}

impl State {
    /// Returns the directory of the spool.
    #[must_use]
    pub fn spool_directory(&self) -> PathBuf {
        self.spool.clone().unwrap_or_else(|| self.directory.clone())
    }
}

/// `[runs]`: how trains are opened.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runs {
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
    /// Its private key, PEM.
    pub key: PathBuf,
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
pub struct Access {
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
pub struct Compat {
    /// Whether the repository's `latest` tag is moved with every written image, as train_lib does.
    pub move_latest: bool,
}

/// `[log]`: the log, on standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Its format.
    pub format: LogFormat,
    /// Filter of log messages: a level, or `target=level` pairs.
    pub filter: String,
}

impl Default for Log {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_only_docker_would_use_is_named() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".docker");
        std::fs::create_dir(&config).unwrap();
        std::fs::write(config.join("config.json"), r#"{"auths":{},"currentContext":"remote"}"#).unwrap();
        let home = home.path().to_str().unwrap();
        let named = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Engine::named_elsewhere(&find)
        };
        assert_eq!(named(&[("DOCKER_HOST", "tcp://h:1"), ("HOME", home)]).unwrap(), "DOCKER_HOST=tcp://h:1");
        assert_eq!(named(&[("DOCKER_HOST", "ssh://u@h")]).unwrap(), "DOCKER_HOST=ssh://u@h");
        assert_eq!(named(&[("DOCKER_HOST", "unix:///run/docker.sock"), ("DOCKER_CONTEXT", "remote"), ("HOME", home)]), None);
        assert_eq!(named(&[("DOCKER_CONTEXT", "remote")]).unwrap(), "DOCKER_CONTEXT=remote");
        assert_eq!(named(&[("DOCKER_CONTEXT", "default"), ("HOME", home)]), None);
        assert!(named(&[("HOME", home)]).unwrap().contains("the context \"remote\" of "));
        assert_eq!(named(&[("DOCKER_CONFIG", "/nowhere"), ("HOME", home)]), None);
        assert_eq!(named(&[]), None);
    }
}
