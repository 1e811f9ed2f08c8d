//! The service's process: its start, its end, its log, and what the system tells of it.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use super::{
    super::{Engine, PATIENCE, wait_for},
    PROGRAM, Station,
};

impl Station {
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
        let mut command = program();
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
            assert!(begun.elapsed() < PATIENCE, "the service does not serve:\n{}", self.log());
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
        // Not dumpable, it shows them to root only; the directory's size tells their number to all users (Linux 6.2).
        match fs::read_dir(&directory) {
            Ok(entries) => entries.count() as u64,
            Err(_) => fs::metadata(&directory).expect("a process").len(),
        }
    }
}

/// The program, without settings that it would take from this process's environment.
pub(super) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("STATIONMASTER_") || name.starts_with("PKCS11SPY") || name == "P11_KIT_SERVER_ADDRESS" {
            command.env_remove(name.as_ref());
        }
    }
    command
}
