//! The service, as a child process, and its client.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use stationmaster_proto as pb;
use stationmaster_proto::{
    hash_image_response, image_service_client::ImageServiceClient, key_service_client::KeyServiceClient, post_run_response,
    pre_run_response, train_service_client::TrainServiceClient,
};
use tonic::transport::{Channel, Endpoint};

use super::{Engine, Refusal, Seat, block_on, wait_for};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_stationmaster");

/// For [`Launch::start_configured`]: the engine is always sent the whole image.
pub fn whole_images(config: &mut toml::Table) {
    let engine = config.entry("engine").or_insert_with(|| toml::Table::new().into());
    engine.as_table_mut().expect("a section").insert("partial_load".into(), "never".into());
}

/// For [`Launch::start_configured`]: only keys in the trust file are believed, which is beside the configuration.
pub fn pinned(config: &mut toml::Table) {
    config.remove("trust");
}

/// For [`Launch::start_configured`]: a setting of a section.
pub fn set(config: &mut toml::Table, section: &str, key: &str, value: impl Into<toml::Value>) {
    let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
    section.as_table_mut().expect("a section").insert(key.into(), value.into());
}

/// For [`Launch::start_configured`]: on TCP, too, with the development station's certificates and any port.
pub fn listen_on_tcp(config: &mut toml::Table) {
    let state = PathBuf::from(config["state"]["directory"].as_str().expect("a directory"));
    let file = |name: &str| state.join("pki").join(name).to_str().expect("UTF-8").to_owned();
    let mut tcp = toml::Table::from_iter([("address".to_owned(), "127.0.0.1:0".into())]);
    for (name, value) in [("cert", file("server.pem")), ("key", file("server.key")), ("client_ca", file("ca.pem"))] {
        tcp.insert(name.into(), value.into());
    }
    set(config, "listen", "tcp", tcp);
}

/// How a service is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    id: String,
    bits: u32,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    /// `serve --config` in place of `serve --dev`.
    config: Option<PathBuf>,
    /// Its images are layouts below this directory, and there is no engine.
    layouts: Option<PathBuf>,
    umask: Option<u32>,
}

impl Launch {
    /// With a train key of this size; the default is 2048, which is made fastest.
    pub fn bits(mut self, bits: u32) -> Self {
        self.bits = bits;
        self
    }

    /// Without an engine: its images are layouts below a directory.
    pub fn layouts(mut self, directory: &Path) -> Self {
        self.layouts = Some(directory.to_owned());
        self.environment.insert("DOCKER_HOST".into(), "unix:///nowhere".into());
        self
    }

    /// With this umask.
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = Some(umask);
        self
    }

    /// With one more environment variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(self) -> Station {
        // Closed to others: the log in it is there before the service's first start, which takes no directory of another kind that is open.
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let state = tempfile::Builder::new().permissions(closed).tempdir().expect("a directory");
        let mut station = Station { state, launch: self, child: None, stderr: None };
        station.start_again();
        station
    }

    /// Starts it as a station that believes only keys in its trust file, in which nobody is yet: see [`Station::believe`].
    #[track_caller]
    pub fn start_pinned(self) -> Station {
        self.start_pinned_and(|_| {})
    }

    /// The same, with its configuration as `change` leaves it.
    #[track_caller]
    pub fn start_pinned_and(self, change: impl FnOnce(&mut toml::Table)) -> Station {
        let mut station = self.start();
        station.stop();
        station.edit_trust(|_| {});
        station.configure(|config| {
            pinned(config);
            change(config);
        });
        station.start_again();
        station
    }

    /// Starts it with a configuration file in place of `--dev`: the one that `--dev` amounts to (less TCP), as `change` leaves
    /// it. The token and its keys are made by a `--dev` start before.
    #[track_caller]
    pub fn start_configured(self, change: impl FnOnce(&mut toml::Table)) -> Station {
        let mut station = self.start();
        station.stop();
        station.configure(change);
        station.start_again();
        station
    }
}

/// A station's service. It ends, and its directory goes, when this is dropped.
pub struct Station {
    launch: Launch,
    child: Option<Child>,
    /// Where the next start's standard error goes, in place of the log file.
    stderr: Option<std::os::fd::OwnedFd>,
    // Last: the process ends first.
    state: tempfile::TempDir,
}

impl Station {
    /// A development station, to be changed before it starts.
    pub fn with(id: &str) -> Launch {
        // Files that decide who is admitted are refused where a group may write them: tests write them as an administrator does.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        Launch {
            id: id.to_owned(),
            bits: 2048,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            config: None,
            layouts: None,
            umask: None,
        }
    }

    /// A development station that serves.
    #[track_caller]
    pub fn start(id: &str) -> Self {
        Self::with(id).start()
    }

    /// Its id, also its train key's label.
    pub fn id(&self) -> &str {
        &self.launch.id
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.state().join("api.sock")
    }

    /// Its place on a route.
    #[track_caller]
    pub fn seat(&self) -> Seat {
        Seat { id: self.launch.id.clone(), hex_pem: self.hex_pem() }
    }

    /// Its train key's public half, as routes carry it.
    #[track_caller]
    pub fn hex_pem(&self) -> String {
        self.key(self.id()).expect("the train key").public_key_hex_pem
    }

    // --- the process ---

    /// Its process id. Fails the test when it does not run.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a service that runs").id()
    }

    /// Sets a variable for the next start; `None` takes it away.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.launch.environment.insert(name.to_owned(), value.to_owned()),
            None => self.launch.environment.remove(name),
        };
    }

    /// Has the next start write its standard error there.
    pub fn set_stderr(&mut self, stderr: impl Into<std::os::fd::OwnedFd>) {
        self.stderr = Some(stderr.into());
    }

    /// Starts it without waiting for anything. What a start before left is out of the way. It dies with the thread that calls this.
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let _ = fs::remove_file(self.state().join("env"));
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log file");
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("STATIONMASTER_") || name.starts_with("PKCS11SPY") || name == "P11_KIT_SERVER_ADDRESS" {
                command.env_remove(name.as_ref());
            }
        }
        match &self.launch.config {
            Some(file) => {
                command.args(["serve", "--config"]).arg(file).env("SOFTHSM2_CONF", self.softhsm_conf());
            }
            None => {
                let bits = self.launch.bits.to_string();
                command.args(["serve", "--dev", "--station", &self.launch.id, "--bits", &bits, "--state"]).arg(self.state());
                match &self.launch.layouts {
                    Some(directory) => drop(command.arg("--layouts").arg(directory)),
                    None => drop(command.args(Engine::host().iter().flat_map(|host| ["--engine", host]))),
                }
            }
        }
        command
            .args(&self.launch.arguments)
            .envs(&self.launch.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(self.stderr.take().map_or(Stdio::from(log), Stdio::from));
        let umask = self.launch.umask;
        // SAFETY: two system calls, allowed between fork and exec. A killed test leaves no service behind.
        unsafe {
            command.pre_exec(move || {
                if let Some(umask) = umask {
                    rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
                }
                Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?)
            });
        }
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{PROGRAM}: {error}")));
    }

    /// Starts it, with its state as it is, and waits until it serves.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.spawn();
        let ready = match self.launch.config {
            None => "env",
            Some(_) => "api.sock",
        };
        let ready = self.state().join(ready);
        let begun = std::time::Instant::now();
        while !(ready.exists() && (self.launch.config.is_none() || self.health().is_ok_and(|status| status == "SERVING"))) {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                self.child = None;
                panic!("the service ended with {status}:\n{}", self.log());
            }
            assert!(begun.elapsed() < super::PATIENCE, "the service does not serve:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end (SIGTERM) and waits. Fails the test when it does not end well.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "it ended with {status}:\n{}", self.log());
    }

    /// Kills it (SIGKILL) and waits.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        assert_eq!(self.wait().signal(), Some(9));
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("a process of ours");
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a service that runs");
        wait_for("the service to end", || child.try_wait().expect("a child of ours"))
    }

    /// Everything it has said, over all starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.state().join("test.log")
    }

    /// A value of its `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`, …
    #[track_caller]
    pub fn memory_kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process's status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_else(|| panic!("no {name}: {status}"))
    }

    /// How many file descriptors it has open.
    #[track_caller]
    pub fn open_files(&self) -> u64 {
        let directory = format!("/proc/{}/fd", self.pid());
        // Not dumpable, it shows them to root only; the directory's size tells their number to everybody (Linux 6.2).
        match fs::read_dir(&directory) {
            Ok(entries) => entries.count() as u64,
            Err(_) => fs::metadata(&directory).expect("a process").len(),
        }
    }

    // --- its files ---

    /// The lines of `DIR/env`, by name.
    pub fn env(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.state().join("env")).expect("the env file of a station that serves");
        let line = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').replace(r"'\''", "'")))
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| panic!("{text:?} in the env file"))).collect()
    }

    /// The program, as a client of this station at its Unix socket, with or without an env file.
    pub fn socket_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env("STATIONMASTER_ADDRESS", format!("unix://{}", self.socket().display())).args(arguments).stdin(Stdio::null());
        command
    }

    /// The program, as a client of this station.
    pub fn client_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.envs(self.env()).args(arguments).stdin(Stdio::null());
        command
    }

    /// SoftHSM's configuration that names its private token.
    pub fn softhsm_conf(&self) -> PathBuf {
        self.state().join("softhsm/softhsm2.conf")
    }

    /// The token's PIN.
    pub fn pin(&self) -> String {
        fs::read_to_string(self.state().join("pin")).expect("the PIN").trim_end().to_owned()
    }

    /// Writes a configuration for the next start; see [`Launch::start_configured`].
    #[track_caller]
    pub fn configure(&mut self, change: impl FnOnce(&mut toml::Table)) {
        let path = |path: &Path| toml::Value::from(path.to_str().expect("a path in UTF-8"));
        let module =
            stationmaster_keystore::softhsm::find_module().expect("SoftHSM's module: run `make test`, which installs it");
        let id = &self.launch.id;
        let mut config: toml::Table = toml::toml! {
            [token]
            label = "stationmaster-dev"
            allow_raw_unwrap = true
            [keys]
            [state]
            [listen]
        };
        config.insert("station".into(), id.as_str().into());
        let mut set = |section: &str, key: &str, value: toml::Value| set(&mut config, section, key, value);
        set("token", "module", path(&module));
        set("token", "pin_file", path(&self.state().join("pin")));
        set("keys", "general", vec![toml::Value::from(format!("{id}-general"))].into());
        set("trust", "mode", "embedded".into());
        set("runs", "directory", path(&self.state().join("runs")));
        set("state", "directory", path(self.state()));
        set("listen", "unix", path(&self.socket()));
        match &self.launch.layouts {
            Some(directory) => set("layouts", "directory", path(directory)),
            None => {
                if let Some(host) = Engine::host() {
                    set("engine", "socket", host.into());
                }
            }
        }
        change(&mut config);
        if let Some(directory) = config.get("audit").and_then(|audit| audit.get("directory")?.as_str()) {
            self.move_audit_to(Path::new(directory));
        }
        let file = self.state().join("test.toml");
        fs::write(&file, config.to_string()).expect("a configuration file");
        self.launch.config = Some(file);
    }

    /// Gives the service's log to another directory, as who configures one does: a service does not begin a new log unasked.
    fn move_audit_to(&self, directory: &Path) {
        let (from, to) = (self.state().join("audit/service"), directory.join("service"));
        if to.exists() || !from.exists() {
            return;
        }
        fs::create_dir_all(&to).expect("a directory");
        for entry in fs::read_dir(from).expect("a log") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }

    // --- its client ---

    /// A connection over the Unix socket.
    pub fn unix(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.socket().display())).expect("an address");
        let _entered = super::RUNTIME.enter();
        endpoint.connect_lazy()
    }

    /// The generated client of `KeyService`.
    pub fn keys_client(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.unix())
    }

    /// The generated client of `ImageService`.
    pub fn images_client(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.unix())
    }

    /// The generated client of `TrainService`.
    pub fn trains_client(&self) -> TrainServiceClient<Channel> {
        TrainServiceClient::new(self.unix())
    }

    /// What `grpc.health.v1` says of the whole: "SERVING", "NOT_SERVING".
    pub fn health(&self) -> Result<String, Refusal> {
        let mut client = tonic_health::pb::health_client::HealthClient::new(self.unix());
        let answer = block_on(client.check(tonic_health::pb::HealthCheckRequest::default()))?;
        Ok(answer.into_inner().status().as_str_name().to_owned())
    }

    /// `ListKeys`.
    pub fn keys(&self) -> Result<Vec<pb::Key>, Refusal> {
        Ok(block_on(self.keys_client().list_keys(pb::ListKeysRequest {}))?.into_inner().keys)
    }

    /// `GetKey`.
    pub fn key(&self, label: &str) -> Result<pb::Key, Refusal> {
        let answer = block_on(self.keys_client().get_key(pb::GetKeyRequest { label: label.into() }))?;
        Ok(answer.into_inner().key.expect("a key"))
    }

    /// `Sign`.
    pub fn sign(&self, label: &str, scheme: pb::SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Refusal> {
        let request = pb::SignRequest { key_label: label.into(), scheme: scheme.into(), digest: digest.into() };
        Ok(block_on(self.keys_client().sign(request))?.into_inner().signature)
    }

    /// `UnwrapKey`.
    pub fn unwrap_key(&self, label: &str, scheme: pb::WrappingScheme, wrapped: &[u8]) -> Result<Vec<u8>, Refusal> {
        let request = pb::UnwrapKeyRequest { key_label: label.into(), scheme: scheme.into(), wrapped_key: wrapped.into() };
        Ok(block_on(self.keys_client().unwrap_key(request))?.into_inner().key)
    }

    /// `InspectTrain`.
    pub fn inspect(&self, image: &str) -> Result<pb::InspectTrainResponse, Refusal> {
        Ok(block_on(self.trains_client().inspect_train(pb::InspectTrainRequest { image: image.into() }))?.into_inner())
    }

    /// `PreRun`, to its outcome.
    pub fn pre_run(&self, image: &str) -> Result<pb::PreRunOutcome, Refusal> {
        self.pre_run_as(image, "")
    }

    /// `PreRun` with an idempotency key.
    pub fn pre_run_as(&self, image: &str, idempotency_key: &str) -> Result<pb::PreRunOutcome, Refusal> {
        self.pre_run_into(image, idempotency_key, pb::OpenInto::Unspecified)
    }

    /// `PreRun` to a place.
    pub fn pre_run_into(&self, image: &str, idempotency_key: &str, into: pb::OpenInto) -> Result<pb::PreRunOutcome, Refusal> {
        let request = pb::PreRunRequest { image: image.into(), idempotency_key: idempotency_key.into(), into: into.into() };
        block_on(async {
            let stream = self.trains_client().pre_run(request).await?.into_inner();
            outcome(stream, |answer| match answer.event {
                Some(pre_run_response::Event::Outcome(outcome)) => Some(outcome),
                _ => None,
            })
            .await
        })
    }

    /// `PostRun` of a run, on the image that pre-run wrote.
    pub fn post_run(&self, run_id: &str) -> Result<pb::PostRunOutcome, Refusal> {
        self.post_run_of(run_id, "")
    }

    /// The same of a run that left nothing, which is said to be meant.
    pub fn post_run_without_results(&self, run_id: &str) -> Result<pb::PostRunOutcome, Refusal> {
        self.post_run_with(pb::PostRunRequest { run_id: run_id.into(), no_results: true, ..Default::default() })
    }

    /// `PostRun`; either may be empty.
    pub fn post_run_of(&self, run_id: &str, image: &str) -> Result<pb::PostRunOutcome, Refusal> {
        self.post_run_with(pb::PostRunRequest { run_id: run_id.into(), image: image.into(), ..Default::default() })
    }

    /// `PostRun`, to its outcome.
    pub fn post_run_with(&self, request: pb::PostRunRequest) -> Result<pb::PostRunOutcome, Refusal> {
        block_on(async {
            let stream = self.trains_client().post_run(request).await?.into_inner();
            outcome(stream, |answer| match answer.event {
                Some(post_run_response::Event::Outcome(outcome)) => Some(outcome),
                _ => None,
            })
            .await
        })
    }

    /// `AbortRun`.
    pub fn abort(&self, run_id: &str) -> Result<pb::AbortRunResponse, Refusal> {
        Ok(block_on(self.trains_client().abort_run(pb::AbortRunRequest { run_id: run_id.into() }))?.into_inner())
    }

    /// `HashImage`, to its result.
    pub fn hash(&self, image: &str, train_only: bool) -> Result<pb::HashImageResult, Refusal> {
        let request = pb::HashImageRequest { image: image.into(), train_only };
        block_on(async {
            let stream = self.images_client().hash_image(request).await?.into_inner();
            outcome(stream, |answer| match answer.event {
                Some(hash_image_response::Event::Result(result)) => Some(result),
                _ => None,
            })
            .await
        })
    }
}

/// Reads a stream to its end: progress, then exactly one outcome, then nothing.
pub async fn outcome<T, O>(mut stream: tonic::Streaming<T>, outcome_in: impl Fn(T) -> Option<O>) -> Result<O, Refusal> {
    let mut last = None;
    while let Some(message) = stream.message().await? {
        assert!(last.is_none(), "a message came after the outcome");
        last = outcome_in(message);
    }
    Ok(last.expect("an outcome at the end of the stream"))
}

impl Drop for Station {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.state().join("instance").exists() {
            crate::support::mounts::Beside::remove_volumes(self);
        }
        if std::thread::panicking() {
            eprintln!("--- log of station {} ---\n{}", self.launch.id, self.log());
        }
    }
}
