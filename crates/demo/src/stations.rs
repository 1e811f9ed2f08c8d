//! The stations: processes of the service, each with its own state, token and socket, and the calls that station software makes to
//! them.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use stationmaster::service::status::RpcError;
use stationmaster_proto as pb;
use stationmaster_proto::{key_service_client::KeyServiceClient, train_service_client::TrainServiceClient};
use stationmaster_train::keys::PublicKey;
use tokio::process::{Child, Command};
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use super::{DemoError, workspace::trust_file};

/// Maximum time for a station to generate its keys and serve.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Maximum time for a station to shut down.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
const LOG_TAIL: usize = 15;

/// The running processes. [`Stations::end`] shuts them down; on drop they are killed.
pub(super) struct Stations {
    binary: PathBuf,
    root: PathBuf,
    engine: String,
    running: Vec<Process>,
    logs: Vec<AuditLog>,
}

/// A station's audit log, and the public key of its checkpoints (SubjectPublicKeyInfo).
pub(super) struct AuditLog {
    pub station: String,
    pub directory: PathBuf,
    pub key: Vec<u8>,
}

struct Process {
    id: String,
    directory: PathBuf,
    log: PathBuf,
    child: Child,
}

/// A serving station, from the view of its software.
pub(super) struct DemoStation {
    /// Its id, also its train key's label.
    pub id: String,
    /// The service's description of the train key.
    pub key: pb::Key,
    /// The public key.
    pub public_key: PublicKey,
    log: PathBuf,
    channel: Channel,
}

impl Stations {
    /// Creates an empty set of stations; their directories will be in `root`.
    pub(crate) fn new(root: &Path, engine: &str) -> Result<Self, DemoError> {
        let binary = std::env::current_exe().map_err(DemoError::io("find this program"))?.with_file_name("stationmaster");
        if !binary.is_file() {
            return Err(DemoError::NoService(binary));
        }
        Ok(Self { binary, root: root.to_owned(), engine: engine.to_owned(), running: Vec::new(), logs: Vec::new() })
    }

    /// Starts a station with a key of `bits`. Must be called on the thread that lives longest, because the station ends with it.
    #[expect(unsafe_code, reason = "ties the child to this process between fork and exec")]
    pub(crate) fn start(&mut self, id: &str, bits: u32) -> Result<(), DemoError> {
        let directory = self.root.join(id);
        let log = self.root.join(format!("{id}.log"));
        let output = File::create(&log).map_err(DemoError::io(format!("write {}", log.display())))?;
        let errors = output.try_clone().map_err(DemoError::io("share the log"))?;
        let mut command = Command::new(&self.binary);
        let options =
            ["serve", "--dev", "--station", id, "--bits", &bits.to_string(), "--engine", &self.engine].map(OsString::from);
        command.args(options).arg("--trust").arg(trust_file(&self.root));
        command.args(["--log", "info", "--log-format", "pretty", "--state"]).arg(&directory);
        // Ctrl-C is handled here, so that a station is stopped after its calls and not during them.
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0).kill_on_drop(true);
        // SAFETY: between fork and exec only the one system call is made.
        unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?)) };
        let child = command.spawn().map_err(DemoError::io(format!("start {}", self.binary.display())))?;
        self.running.push(Process { id: id.to_owned(), directory, log, child });
        Ok(())
    }

    /// Waits until all stations serve.
    pub(crate) async fn serving(&mut self) -> Result<Vec<DemoStation>, DemoError> {
        let mut stations = Vec::new();
        for process in &mut self.running {
            let station = process.serving().await?;
            self.logs.push(process.audit(&station).await?);
            stations.push(station);
        }
        Ok(stations)
    }

    /// Returns their audit logs, to be read after they have ended.
    pub(crate) fn logs(&self) -> &[AuditLog] {
        &self.logs
    }

    /// Shuts down all stations; kills those that do not end in time.
    pub(crate) async fn end(&mut self) {
        let mut running = std::mem::take(&mut self.running);
        for process in &running {
            process.terminate();
        }
        let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
        for process in &mut running {
            if tokio::time::timeout_at(deadline, process.child.wait()).await.is_err() {
                let _ = process.child.kill().await;
            }
        }
    }
}

impl Process {
    async fn serving(&mut self) -> Result<DemoStation, DemoError> {
        let env = self.directory.join("env");
        let began = Instant::now();
        let text = loop {
            if let Ok(text) = fs::read_to_string(&env) {
                break text;
            }
            if let Some(status) = self.child.try_wait().map_err(DemoError::io("wait for a station"))? {
                return Err(self.failure(format!("ended during its start ({status})")));
            }
            if began.elapsed() > START_TIMEOUT {
                return Err(self.failure(format!("does not serve after {} s", START_TIMEOUT.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        };
        let address = exported(&text, "STATIONMASTER_ADDRESS").ok_or_else(|| self.failure("provides no address".into()))?;
        // tonic expects the path of a socket without leading slashes.
        let address = format!("unix:{}", address.strip_prefix("unix://").unwrap_or(&address));
        let endpoint = Endpoint::from_shared(address).map_err(|error| self.failure(error.to_string()))?;
        let channel = endpoint.connect().await.map_err(|error| self.failure(format!("cannot be reached: {error}")))?;
        let failed = DemoError::call(&self.id, "GetKey");
        let answer = KeyServiceClient::new(channel.clone()).get_key(pb::GetKeyRequest { label: self.id.clone() }).await;
        let key = answer.map_err(failed)?.into_inner().key.unwrap_or_default();
        let public_key = PublicKey::from_pem(key.public_key_pem.as_bytes()).map_err(DemoError::crypto)?;
        Ok(DemoStation { id: self.id.clone(), key, public_key, log: self.log.clone(), channel })
    }

    async fn audit(&self, station: &DemoStation) -> Result<AuditLog, DemoError> {
        let request = pb::GetKeyRequest { label: "audit".to_owned() };
        let answer = KeyServiceClient::new(station.channel.clone()).get_key(request).await;
        let key = answer.map_err(DemoError::call(&self.id, "GetKey"))?.into_inner().key.unwrap_or_default().public_key_der;
        Ok(AuditLog { station: self.id.clone(), directory: self.directory.join("audit/service"), key })
    }

    fn failure(&self, what: String) -> DemoError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
        DemoError::Station { station: self.id.clone(), what, log: tail }
    }

    fn terminate(&self) {
        // There is no id when it has ended and was waited for.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl DemoStation {
    pub(crate) async fn pre_run(&self, image: &str) -> Result<pb::PreRunOutcome, RpcError> {
        use pb::pre_run_response::Event;
        let request = pb::PreRunRequest { image: image.to_owned(), ..Default::default() };
        let events = TrainServiceClient::new(self.channel.clone()).pre_run(request).await?.into_inner();
        outcome(events, |message| match message.event {
            Some(Event::Outcome(outcome)) => Some(outcome),
            _ => None,
        })
        .await
    }

    pub(crate) async fn post_run(&self, run_id: &str) -> Result<pb::PostRunOutcome, RpcError> {
        use pb::post_run_response::Event;
        let request = pb::PostRunRequest { run_id: run_id.to_owned(), image: String::new(), no_results: false };
        let events = TrainServiceClient::new(self.channel.clone()).post_run(request).await?.into_inner();
        outcome(events, |message| match message.event {
            Some(Event::Outcome(outcome)) => Some(outcome),
            _ => None,
        })
        .await
    }

    pub(crate) async fn sign(&self, digest: &[u8]) -> Result<pb::SignResponse, RpcError> {
        let scheme = pb::SignatureScheme::RsaPssSha512MaxSalt.into();
        let request = pb::SignRequest { key_label: self.id.clone(), scheme, digest: digest.to_vec(), message: Vec::new() };
        Ok(KeyServiceClient::new(self.channel.clone()).sign(request).await?.into_inner())
    }

    pub(crate) async fn unwrap_key(&self, wrapped: &[u8]) -> Result<pb::UnwrapKeyResponse, RpcError> {
        let scheme = pb::WrappingScheme::RsaOaepSha512.into();
        let request = pb::UnwrapKeyRequest { key_label: self.id.clone(), scheme, wrapped_key: wrapped.to_vec() };
        Ok(KeyServiceClient::new(self.channel.clone()).unwrap_key(request).await?.into_inner())
    }

    /// Returns the line of its log that contains a word.
    pub(crate) fn logged(&self, word: &str) -> Option<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().find(|line| line.contains(word)).map(str::to_owned)
    }
}

async fn outcome<M, T>(mut events: Streaming<M>, read: impl Fn(M) -> Option<T>) -> Result<T, RpcError> {
    while let Some(message) = events.message().await? {
        if let Some(outcome) = read(message) {
            return Ok(outcome);
        }
    }
    Err(RpcError::internal("the response ended without an outcome"))
}

/// Returns the value of `export NAME='value'` in a shell script.
fn exported(lines: &str, name: &str) -> Option<String> {
    let value = lines.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='))?;
    let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
    Some(quoted.unwrap_or(value).replace(r"'\''", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shells_export_is_read() {
        let lines = "export STATIONMASTER_ADDRESS_OTHER='x'\nexport STATIONMASTER_ADDRESS='unix:///a b'\\''c/api.sock'\n";
        assert_eq!(exported(lines, "STATIONMASTER_ADDRESS").as_deref(), Some("unix:///a b'c/api.sock"));
        assert_eq!(exported(lines, "STATIONMASTER_TCP"), None);
    }
}
