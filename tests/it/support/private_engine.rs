//! A Docker engine of a test's own, to be killed or to run out of disk. The engine that all other tests share is never touched.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Engine, wait_for};

/// Tells a test that it runs in a process of its own, and where its engine is to be.
const OWN: &str = "STATIONMASTER_TEST_PRIVATE_ENGINE";

/// Whose engine it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    ThisMachine,
    /// The same, that stores an image as a copy of the one below (vfs, as btrfs and zfs do).
    ThisMachineCopies,
    /// Of Debian's next release, unpacked by `scripts/next-engine.sh`.
    NextDebian,
    /// The same with containerd's image store.
    NextDebianContainerd,
}

impl Of {
    /// What images can be stored with. Where the kernel or a container forbids the first, the second.
    fn drivers(self) -> [&'static str; 2] {
        match self {
            Self::ThisMachine | Self::NextDebian => ["overlay2", "vfs"],
            Self::ThisMachineCopies => ["vfs", "vfs"],
            Self::NextDebianContainerd => ["overlayfs", "native"],
        }
    }
}

/// dockerd and its containerd, with everything of theirs below one directory and a network namespace of their own. They need
/// root; others go through `sudo -n`.
pub struct PrivateEngine {
    directory: PathBuf,
    of: Of,
    launched: Option<Child>,
    /// What its images are stored with, once it has come up.
    driver: Option<&'static str>,
}

impl PrivateEngine {
    /// Runs `body` with an engine at `DOCKER_HOST`, in a process of its own: that variable is the whole process's, and other
    /// tests want the shared engine. `test` is the calling test's whole name. Its data is below `directory`/`disk`, which `prepare` may
    /// make a disk of its own.
    #[track_caller]
    pub fn with(test: &str, prepare: impl FnOnce(&Path) -> Option<super::Disk>, body: impl FnOnce(&mut Self)) {
        Self::of(Of::ThisMachine, test, prepare, body);
    }

    /// The same with images as copies.
    #[track_caller]
    pub fn with_copies(test: &str, body: impl FnOnce(&mut Self)) {
        Self::of(Of::ThisMachineCopies, test, |_| None, body);
    }

    /// The same with the engine of Debian's next release.
    #[track_caller]
    pub fn with_next(test: &str, body: impl FnOnce(&mut Self)) {
        Self::of(Of::NextDebian, test, |_| None, body);
    }

    /// The same with containerd's image store.
    #[track_caller]
    pub fn with_next_containerd(test: &str, body: impl FnOnce(&mut Self)) {
        Self::of(Of::NextDebianContainerd, test, |_| None, body);
    }

    #[track_caller]
    fn of(of: Of, test: &str, prepare: impl FnOnce(&Path) -> Option<super::Disk>, body: impl FnOnce(&mut Self)) {
        let at = |directory: &Path| Self { directory: directory.into(), of, launched: None, driver: None };
        if let Ok(directory) = std::env::var(OWN) {
            let mut engine = at(directory.as_ref());
            assert_eq!(Engine::host(), Some(engine.host()));
            engine.start();
            return body(&mut engine);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let disk = prepare(directory.path());
        let engine = at(directory.path());
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
            .env(OWN, directory.path())
            .env("DOCKER_HOST", engine.host())
            .stdin(Stdio::null())
            .status();
        // Also when the process before was killed: nothing of the engine may stay.
        engine.clear();
        drop(disk);
        assert!(status.expect("this program again").success(), "{test} failed in its own process, see above");
    }

    fn host(&self) -> String {
        format!("unix://{}", self.directory.join("docker.sock").display())
    }

    /// The directory under its data.
    pub fn disk(&self) -> PathBuf {
        self.directory.join("disk")
    }

    /// Starts it (again) and waits until it answers.
    #[track_caller]
    pub fn start(&mut self) {
        // A second start sees what the first one stored.
        let drivers = self.driver.map_or(self.of.drivers().to_vec(), |driver| vec![driver]);
        self.driver = drivers.into_iter().find(|driver| self.comes_up(driver));
        if self.driver.is_none() {
            let log = fs::read_to_string(self.directory.join("dockerd.log")).unwrap_or_default();
            panic!("a private dockerd does not start (it needs root, or sudo):\n{log}");
        }
    }

    fn comes_up(&mut self, driver: &str) -> bool {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let store = self.of == Of::NextDebianContainerd;
        fs::write(at("daemon.json"), format!("{{\"features\":{{\"containerd-snapshotter\":{store}}}}}"))
            .expect("a configuration");
        let log = File::options().create(true).append(true).open(at("dockerd.log")).expect("a log file");
        let group = rustix::process::getgid().as_raw().to_string();
        let dockerd: &[&str] = match self.of {
            Of::ThisMachine | Of::ThisMachineCopies => &["dockerd"],
            Of::NextDebian | Of::NextDebianContainerd => {
                &["--mount", concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/next-engine.sh"), "dockerd"]
            }
        };
        // A namespace of its own: otherwise `--bridge=none` would take the other engine's bridge away.
        let child = privileged("unshare")
            .arg("--net")
            .args(dockerd)
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--group", &group])
            .args(["--storage-driver", driver, "--config-file", &at("daemon.json"), "--host", &self.host()])
            .args(["--data-root", &at("disk/data"), "--exec-root", &at("exec"), "--pidfile", &at("dockerd.pid")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn();
        let mut child = child.expect("unshare");
        let comes_up = wait_for("a private dockerd to answer or to end", || {
            if child.try_wait().expect("a child of ours").is_some() {
                return Some(false);
            }
            std::os::unix::net::UnixStream::connect(self.directory.join("docker.sock")).is_ok_and(ping).then_some(true)
        });
        self.launched = Some(child);
        if !comes_up {
            self.kill();
        }
        comes_up
    }

    /// Kills it and its containerd (SIGKILL), as a crash of the machine's engine would.
    pub fn kill(&mut self) {
        self.clear_processes();
        if let Some(mut child) = self.launched.take() {
            let _ = child.wait();
        }
    }

    /// By what their command lines name: only processes of this directory's engine.
    fn clear_processes(&self) {
        let ours = |pid: &str| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let exec_root = self.directory.join("exec").display().to_string();
            let engine = ["dockerd", "containerd"].iter().any(|name| {
                line.split(|byte| *byte == 0).next().is_some_and(|first| {
                    Path::new(&*String::from_utf8_lossy(first))
                        .file_name()
                        .is_some_and(|file| file.to_string_lossy().starts_with(name))
                })
            });
            engine && super::tamper::holds(&line, exec_root.as_bytes())
        };
        let pids: Vec<String> = fs::read_dir("/proc")
            .expect("processes")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && ours(name))
            .collect();
        if !pids.is_empty() {
            let _ = privileged("kill").arg("-KILL").args(&pids).status();
        }
        wait_for("the private engine to be gone", || (!pids.iter().any(|pid| ours(pid))).then_some(()));
        // A new dockerd would wait for the process that an old file names: another one by now, or one that was not reaped.
        let files = ["dockerd.pid", "exec/containerd/containerd.pid"].map(|name| self.directory.join(name));
        let _ = privileged("rm").arg("-f").args(files).status();
    }

    /// Kills what is left and unmounts what it mounted; the directory can be removed then.
    fn clear(&self) {
        self.clear_processes();
        let below = |name: &str| format!("{}/{name}/", self.directory.display());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let ours = |point: &&str| ["disk", "exec"].iter().any(|name| point.starts_with(&below(name)));
        for point in points.filter(ours) {
            let _ = privileged("umount").args(["--lazy", point]).status();
        }
        // What is left is root's. A disk's own directory stays until the disk is gone.
        let left = ["disk/data", "exec"].map(|name| self.directory.join(name));
        let _ = privileged("rm").arg("-rf").args(left).status();
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if self.launched.is_some() {
            self.kill();
        }
    }
}

/// A program with the rights of root.
pub fn privileged(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

fn ping(mut engine: std::os::unix::net::UnixStream) -> bool {
    let mut answer = [0; 12];
    let patience = Some(Duration::from_secs(10));
    let asked =
        io::Write::write_all(&mut engine, b"GET /_ping HTTP/1.0\r\n\r\n").and_then(|()| engine.set_read_timeout(patience));
    asked.and_then(|()| io::Read::read_exact(&mut engine, &mut answer)).is_ok() && answer.ends_with(b" 200")
}
