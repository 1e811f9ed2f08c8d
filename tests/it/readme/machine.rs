//! Machines at which the steps are typed.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use crate::support::{PROGRAM, privileged, proxy::EngineProxy, wait_for};

/// Where a reader types: a shell of a user in a copy of this repository.
pub trait Machine {
    /// The command that runs what follows it at the machine, as root.
    fn enter(&self) -> Command;

    /// Where the copy of the repository is.
    fn place(&self) -> &str;

    /// Lines that the machine cannot take: what they do is done in another way, or is not tried.
    fn leaves_out(&self) -> &[&str];

    /// The image as the engine of the test has it again.
    fn brings_back(&self, image: &str);

    /// Types a block, as a person would: each line after the one before has succeeded. Answers what was shown.
    #[track_caller]
    fn types(&self, user: &str, block: &str) -> String {
        let kept: Vec<_> = block.lines().filter(|line| !self.leaves_out().contains(line)).collect();
        let script = format!("set -euo pipefail; cd {}\n{}\n", self.place(), kept.join("\n"));
        let mut command = self.enter();
        match user {
            "root" => command.args(["bash", "-c", &script]),
            user => command.args(["runuser", "-u", user, "--", "bash", "-c", &script]),
        };
        let done = command.stdin(Stdio::null()).output().expect("a shell");
        assert!(done.status.success(), "as {user}:\n{}\n{}", kept.join("\n"), all(&done));
        String::from_utf8(done.stdout).expect("text")
    }

    /// Puts a file beside the copy's own.
    fn gets(&self, name: &str, content: &[u8]) {
        let mut command = self.enter();
        let mut writing = command
            .args(["tee", &format!("{}/{name}", self.place())])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("tee");
        writing.stdin.take().expect("its input").write_all(content).expect("written");
        assert!(writing.wait().expect("tee").success());
    }
}

fn all(done: &Output) -> String {
    format!("{}\n{}{}", done.status, String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

/// What the steps need of the repository: what they copy, with the program under test in the place of the optimised one.
fn lay_out(place: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(place.join("target/release")).expect("a directory");
    fs::copy(PROGRAM, place.join("target/release/stationmaster")).expect("the program");
    fs::create_dir_all(place.join("deploy")).expect("a directory");
    for entry in fs::read_dir(root.join("deploy")).expect("deploy") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), place.join("deploy").join(entry.file_name())).expect("a copy");
    }
    fs::set_permissions(place, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// This machine in namespaces of the test's own: what the steps write goes to a layer above it, and with the namespaces. In place of
/// systemd a script starts what the shipped unit names, as the user that it names.
pub struct Namespaces {
    holder: Child,
    init: u32,
    place: String,
    // Last: they are used until the processes are gone.
    _engine: EngineProxy,
    _directory: tempfile::TempDir,
}

/// Above each of these lies a layer.
const WRITTEN: &str = "/etc /usr/bin /var/lib /var/backups /root /home";

/// `systemctl`, for what the steps ask of it.
const SYSTEMCTL: &str = r#"#!/bin/bash
set -euo pipefail
value() { sed -n "s/^$1=//p" /etc/systemd/system/stationmaster.service | tail -n 1; }
start() {
    user=$(value User)
    install -d -o "$user" -g "$user" -m "$(value RuntimeDirectoryMode)" "/run/$(value RuntimeDirectory)"
    install -d -o "$user" -g "$user" -m "$(value StateDirectoryMode)" "/var/lib/$(value StateDirectory)"
    umask "$(value UMask)"
    # shellcheck disable=SC2046 # words, as systemd takes them
    setsid setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs --bounding-set=-all \
        $(value ExecStart) </dev/null >/run/stationmaster.log 2>&1 &
    echo $! >/run/stationmaster.pid
}
stop() {
    pid=$(cat /run/stationmaster.pid)
    kill "$pid"
    # Nothing here reaps it: an ended process keeps its number, not its program.
    while [ -e "/proc/$pid/exe" ]; do sleep 0.05; done
}
case "$*" in
daemon-reload) ;;
'enable --now stationmaster') start ;;
'restart stationmaster') stop; start ;;
'disable --now stationmaster') stop ;;
*) echo "systemctl $*: not here" >&2; exit 1 ;;
esac
"#;

impl Namespaces {
    #[track_caller]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let place = at("repository");
        lay_out(&place);
        fs::create_dir(at("bin")).expect("a directory");
        fs::write(at("bin/systemctl"), SYSTEMCTL).expect("a script");
        fs::set_permissions(at("bin/systemctl"), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let engine = EngineProxy::start(directory.path());
        let socket = engine.address().trim_start_matches("unix://").to_owned();
        // The layers are on a tmpfs: nothing of them is on a disk, and overlayfs takes it for its upper layer everywhere.
        let set_up = format!(
            r#"set -euo pipefail
            layers={layers}; mkdir $layers; mount -t tmpfs readme $layers
            for directory in {WRITTEN}; do
                mkdir -p $layers$directory/upper $layers$directory/work
                mount -t overlay overlay -o lowerdir=$directory,upperdir=$layers$directory/upper,workdir=$layers$directory/work $directory
            done
            touch $layers/engine; mount --bind {socket} $layers/engine
            mount -t tmpfs -o mode=755 readme /run
            mkdir /run/lock; touch /run/docker.sock; mount --bind $layers/engine /run/docker.sock
            # As the packages leave it; and the user that the station's software runs as.
            for group in docker softhsm; do getent group $group >/dev/null || groupadd --system $group; done
            chgrp docker /run/docker.sock; chmod 660 /run/docker.sock
            getent passwd airflow >/dev/null || useradd --create-home airflow
            rm -rf /var/lib/stationmaster /etc/stationmaster /var/lib/softhsm/tokens/*
            touch $layers/ready
            exec sleep infinity"#,
            layers = at("layers").display(),
        );
        let mut holder = privileged("unshare");
        holder.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        let mut holder = holder.args(["bash", "-c", &set_up]).stdin(Stdio::null()).spawn().expect("unshare");
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let init = wait_for("the namespaces", || {
            assert!(holder.try_wait().expect("a child of ours").is_none(), "no namespaces: run as root");
            let init: u32 = fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok()?;
            // Seen through its own root: the layers are in its namespace only.
            let ready = privileged("test").args(["-e", &format!("/proc/{init}/root{}", at("layers/ready").display())]).status();
            ready.is_ok_and(|status| status.success()).then_some(init)
        });
        let place = place.to_str().expect("UTF-8").to_owned();
        Self { holder, init, place, _engine: engine, _directory: directory }
    }
}

impl Machine for Namespaces {
    fn enter(&self) -> Command {
        let mut command = privileged("nsenter");
        let bin = Path::new(&self.place).with_file_name("bin");
        let path = format!("PATH={}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
        command.args(["--target", &self.init.to_string(), "--mount", "--pid", "--", "env", "-i", &path, "HOME=/root"]);
        command
    }

    fn place(&self) -> &str {
        &self.place
    }

    fn leaves_out(&self) -> &[&str] {
        &["apt-get install docker.io softhsm2 libssl3 libsqlite3-0 libzstd1", "make build"]
    }

    // The engine is the test's own.
    fn brings_back(&self, _image: &str) {}
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.enter().args(["cat", "/run/stationmaster.log"]).output();
            eprintln!("--- the service's log ---\n{}", log.map(|log| all(&log)).unwrap_or_default());
        }
        // The first process of the PID namespace takes all others with it.
        let _ = privileged("kill").args(["-KILL", &self.init.to_string()]).status();
        let _ = self.holder.wait();
    }
}

/// A fresh Debian 12 in a container of this machine's engine, systemd its first process; with an engine of its own.
pub struct Container {
    name: String,
    _directory: tempfile::TempDir,
}

/// The image that `scripts/fresh-debian.sh` makes.
const DEBIAN: &str = "stationmaster-test/fresh-debian:12";

impl Container {
    #[track_caller]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        lay_out(directory.path());
        let name = format!("stationmaster-readme-{}", std::process::id());
        let copy = format!("{}:/src", directory.path().display());
        let started = Command::new("docker")
            .args(["run", "--detach", "--rm", "--name", &name, "--hostname", "hospital-1", "--network", "none"])
            // Not `--privileged`: that needs a capability which machines in a container of their own have not.
            .args(["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "systempaths=unconfined"])
            .args(["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"])
            .args([
                "--tmpfs",
                "/run",
                "--tmpfs",
                "/run/lock",
                "--tmpfs",
                "/tmp",
                "--volume",
                "/var/lib/docker",
                "--volume",
                &copy,
            ])
            .args(["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cgroupns", "host", DEBIAN])
            // As on a machine: systemd hands credentials over by mounts that spread.
            .args(["bash", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"])
            .output()
            .expect("docker");
        assert!(started.status.success(), "{}", all(&started));
        let machine = Self { name, _directory: directory };
        wait_for("systemd", || {
            let state = machine.enter().args(["systemctl", "is-system-running"]).output().ok()?;
            ["running", "degraded"].contains(&String::from_utf8_lossy(&state.stdout).trim()).then_some(())
        });
        wait_for("its engine", || machine.enter().args(["docker", "version"]).output().ok()?.status.success().then_some(()));
        machine.types("root", "useradd --create-home airflow");
        machine
    }

    /// Gives its engine images of the test's.
    pub fn takes_image(&self, images: &[&str]) {
        let mut saved = Command::new("docker").arg("save").args(images).stdout(Stdio::piped()).spawn().expect("docker save");
        let out = saved.stdout.take().expect("its output");
        let loaded =
            Command::new("docker").args(["exec", "-i", &self.name, "docker", "load"]).stdin(out).output().expect("docker load");
        assert!(saved.wait().expect("docker save").success() && loaded.status.success(), "{}", all(&loaded));
    }
}

impl Machine for Container {
    fn enter(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", "-i", "--env", "HOME=/root", &self.name]);
        command
    }

    fn place(&self) -> &str {
        "/src"
    }

    fn leaves_out(&self) -> &[&str] {
        // No network; all packages are in the image, as debootstrap installed them.
        &["apt-get install docker.io softhsm2 libssl3 libsqlite3-0 libzstd1", "make build"]
    }

    fn brings_back(&self, image: &str) {
        let mut saved = Command::new("docker")
            .args(["exec", &self.name, "docker", "save", image])
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker save");
        let out = saved.stdout.take().expect("its output");
        let loaded = Command::new("docker").arg("load").stdin(out).output().expect("docker load");
        assert!(saved.wait().expect("docker save").success() && loaded.status.success(), "{}", all(&loaded));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.enter().args(["journalctl", "--no-pager", "-n", "100"]).output();
            eprintln!("--- its journal ---\n{}", log.map(|log| all(&log)).unwrap_or_default());
        }
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.name]).output();
    }
}
