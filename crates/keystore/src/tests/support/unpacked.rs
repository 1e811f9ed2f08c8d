//! Tokens that `make tokens` unpacks or builds: their modules are in the directory that `STATIONMASTER_TOKENS` names.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{PIN, SO_PIN};

/// A token's module, what it is initialised with, and what runs for it while it is used.
pub(super) struct Unpacked {
    pub(super) module: PathBuf,
    pub(super) init_args: Option<String>,
    pub(super) daemons: Vec<Daemon>,
}

/// A process that ends with the token.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts a process, and waits until it is ready.
    fn start(command: &mut Command, is_ready: impl Fn() -> bool) -> Daemon {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let since = Instant::now();
        while !is_ready() {
            assert!(since.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none(), "{command:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Daemon(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Kryoptic with two slots, whose databases are made at their first use.
pub(super) fn kryoptic(dir: &Path) -> Unpacked {
    let files = dir.join("kryoptic");
    std::fs::create_dir(&files).unwrap();
    let slot =
        |number| format!("[[slots]]\nslot = {number}\ndbtype = \"sqlite\"\ndbargs = \"{}/{number}.sql\"\n", files.display());
    std::fs::write(dir.join("token.conf"), slot(1) + &slot(2)).unwrap();
    Unpacked {
        module: found("kryoptic/debug/libstationmaster_kryoptic.so"),
        init_args: Some(format!("kryoptic_conf={}", dir.join("token.conf").display())),
        daemons: Vec::new(),
    }
}

/// A TPM in software, its resource manager on a bus of its own, and an empty store.
pub(super) fn tpm(dir: &Path) -> Unpacked {
    let (state, store, socket, bus) = (dir.join("tpm"), dir.join("store"), dir.join("tpm.sock"), dir.join("bus"));
    std::fs::create_dir(&state).unwrap();
    std::fs::create_dir(&store).unwrap();
    let tpm = Daemon::start(
        Command::new(found("root/usr/bin/swtpm"))
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", state.display())])
            .args(["--server", &format!("type=unixio,path={}", socket.display())])
            // Where the resource manager expects it.
            .args(["--ctrl", &format!("type=unixio,path={}.ctrl", socket.display())]),
        || socket.exists(),
    );
    let address = format!("unix:path={}", bus.display());
    let messages =
        Daemon::start(Command::new("dbus-daemon").args(["--session", "--nofork", "--nopidfile", "--address", &address]), || {
            bus.exists()
        });
    // SAFETY: see `TestToken::softhsm`.
    unsafe {
        std::env::set_var("DBUS_SESSION_BUS_ADDRESS", &address);
        std::env::set_var("TPM2_PKCS11_STORE", &store);
        std::env::set_var("TPM2_PKCS11_TCTI", "tabrmd:bus_type=session");
        std::env::set_var("TSS2_LOG", "all+NONE");
    }
    let owner = ["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.GetNameOwner"];
    let is_owned =
        || Command::new("dbus-send").args(owner).arg("string:com.intel.tss2.Tabrmd").output().unwrap().status.success();
    let manager = Daemon::start(
        Command::new(found("root/usr/sbin/tpm2-abrmd")).args([
            "--session",
            "--allow-root",
            "--logger=stdout",
            &format!("--tcti=swtpm:path={}", socket.display()),
        ]),
        is_owned,
    );
    Unpacked { module: found_library("libtpm2_pkcs11.so.1"), init_args: None, daemons: vec![manager, messages, tpm] }
}

/// openCryptoki's token in software. Its daemon runs already (`scripts/opencryptoki.sh`), and its only token is made anew. Both PINs have to
/// be changed after they were set.
pub(super) fn opencryptoki(label: &str) -> Unpacked {
    // The memory of the token's last user stays.
    for left in ["/dev/shm/var.lib.opencryptoki.swtok", "/var/lib/opencryptoki/swtok/NVTOK.DAT"] {
        let _ = std::fs::remove_file(left);
    }
    // As the page for administrators has them.
    let page = include_str!("../../../../../docs/tokens.md");
    let words = |line: &str| {
        let value = |word: &str| match word {
            "SO_PIN" => SO_PIN.to_owned(),
            "FIRST" => "a-first".to_owned(),
            "PIN" => PIN.to_owned(),
            word => word.to_owned(),
        };
        line.split(' ').map(value).collect::<Vec<_>>()
    };
    let steps: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("    pkcsconf ")).map(words).collect();
    assert_eq!(steps.len(), 4, "the page has other steps");
    for step in steps {
        let mut process = Command::new("pkcsconf")
            .args(&step)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("in scripts/opencryptoki.sh");
        use std::io::Write;
        let _ = writeln!(process.stdin.take().unwrap(), "{label}");
        let done = process.wait_with_output().unwrap();
        assert!(done.status.success() && !String::from_utf8_lossy(&done.stdout).contains("rror"), "{step:?}: {done:?}");
    }
    Unpacked { module: found_library("libopencryptoki.so.0"), init_args: None, daemons: Vec::new() }
}

fn found(path: &str) -> PathBuf {
    let tokens = std::env::var_os("STATIONMASTER_TOKENS").expect("run by `make tokens`");
    let found = PathBuf::from(tokens).join(path);
    assert!(found.is_file(), "{} is missing: run `make tokens`", found.display());
    found
}

/// Finds a library below the directory of the machine's architecture.
fn found_library(name: &str) -> PathBuf {
    let tokens = PathBuf::from(std::env::var_os("STATIONMASTER_TOKENS").expect("run by `make tokens`"));
    let libraries = std::fs::read_dir(tokens.join("root/usr/lib")).unwrap();
    let mut places = libraries.map(|entry| entry.unwrap().path().join(name));
    places.find(|place| place.is_file()).unwrap_or_else(|| panic!("{name} is missing: run `make tokens`"))
}
