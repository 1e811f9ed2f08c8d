//! A station's token seen from outside: through `pkcs11-spy`, or in a process of its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Launch, Station};

/// The first of these files that is there.
#[track_caller]
fn installed(places: &[&str]) -> String {
    let found = places.iter().find(|place| Path::new(place).is_file());
    (*found.unwrap_or_else(|| panic!("none of {places:?} is there: run `make test`, which installs it"))).to_owned()
}

/// `pkcs11-spy`.
pub fn spy() -> String {
    installed(&[
        "/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so",
        "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so",
        "/usr/lib64/pkcs11/pkcs11-spy.so",
    ])
}

/// SoftHSM's module.
pub fn softhsm() -> PathBuf {
    stationmaster_keystore::softhsm::find_module().expect("SoftHSM's module: run `make test`, which installs it")
}

/// What `pkcs11-spy` wrote down.
pub struct SpyLog(pub PathBuf);

/// Uses of private keys: operations begun, and operations that gave a result.
#[derive(Debug, PartialEq, Eq)]
pub struct Uses {
    pub signatures: (usize, usize),
    pub decryptions: (usize, usize),
    /// Every other call that uses a key.
    pub others: usize,
}

impl SpyLog {
    /// A station whose token is asked through the spy. The log is there once it has been asked.
    pub fn on(log: PathBuf, launch: Launch) -> (Self, Launch) {
        let launch = launch
            .env("SOFTHSM2_MODULE", spy())
            .env("PKCS11SPY", softhsm().to_str().unwrap())
            .env("PKCS11SPY_OUTPUT", log.to_str().unwrap());
        (Self(log), launch)
    }

    /// The spy, for a configuration.
    pub fn module() -> String {
        spy()
    }

    /// Everything that was given to `C_Sign`, hex. Two threads that sign at once mix their bytes: have the service use one session.
    pub fn signed(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&fs::read(&self.0).expect("the spy's log")).into_owned();
        let mut found = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if !line.starts_with("[in] pData[ulDataLen]") {
                continue;
            }
            let mut bytes = String::new();
            // `    00000010  AB CD …  ........`
            while let Some(dump) = lines.next_if(|line| line.starts_with("    0000")) {
                let columns = dump.split_whitespace().skip(1);
                let hex = columns.take(16).take_while(|byte| byte.len() == 2 && byte.chars().all(|c| c.is_ascii_hexdigit()));
                bytes.extend(hex.map(str::to_lowercase));
            }
            found.push(bytes);
        }
        found
    }

    /// How often keys have been used so far.
    pub fn uses(&self) -> Uses {
        let text = String::from_utf8_lossy(&fs::read(&self.0).expect("the spy's log")).into_owned();
        // `17: C_SignInit`
        let called = |is_meant: &dyn Fn(&str) -> bool| {
            let name = |line: &str| {
                line.split_once(": ")
                    .filter(|(number, _)| number.parse::<u64>().is_ok())
                    .is_some_and(|(_, name)| is_meant(name.trim()))
            };
            text.lines().filter(|line| name(line)).count()
        };
        // The wrapper asks for the result's length first, with nowhere to put it: that is no use of the key.
        let given = |output: &str| text.lines().filter(|line| line.starts_with(output) && !line.contains(" NULL ")).count();
        let other = |name: &str| {
            let of_keys = ["C_Sign", "C_Decrypt", "C_Encrypt", "C_Verify", "C_Unwrap", "C_Wrap", "C_Derive", "C_Generate"];
            of_keys.iter().any(|stem| name.starts_with(stem))
                && !["C_SignInit", "C_Sign", "C_DecryptInit", "C_Decrypt"].contains(&name)
        };
        Uses {
            signatures: (called(&|name| name == "C_SignInit"), given("[out] pSignature[*pulSignatureLen]")),
            decryptions: (called(&|name| name == "C_DecryptInit"), given("[out] pData[*pulDataLen]")),
            others: called(&other),
        }
    }
}

/// A station's token in a process of its own.
pub struct TokenServer {
    server: Child,
    /// For `P11_KIT_SERVER_ADDRESS`.
    pub address: String,
}

impl TokenServer {
    /// Serves a station's token. What an earlier server left is out of the way.
    pub fn start(station: &Station) -> Self {
        let socket = station.state().join("p11.sock");
        let _ = fs::remove_file(&socket);
        let mut server = Command::new("p11-kit")
            .args(["server", "--foreground", "--sh", "--name"])
            .arg(&socket)
            .arg("--provider")
            .arg(softhsm())
            .arg("pkcs11:token=stationmaster-dev")
            .env("SOFTHSM2_CONF", station.softhsm_conf())
            .stdout(Stdio::piped())
            .spawn()
            .expect("p11-kit: run `make test`, which installs it");
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().expect("its output")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("P11_KIT_SERVER_ADDRESS="), "{line:?}");
        Self { server, address: format!("unix:path={}", socket.display()) }
    }

    /// The module that reaches it.
    pub fn client() -> String {
        installed(&["/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so"])
    }

    /// Stops what holds the token: it neither answers nor breaks any more.
    pub fn hang(&self) {
        Self::stop(self.children());
    }

    /// Stops the server as well: who connects now gets no answer.
    pub fn hang_all(&self) {
        Self::stop([vec![self.server.id()], self.children()].concat());
    }

    fn stop(processes: Vec<u32>) {
        for child in processes {
            let pid = rustix::process::Pid::from_raw(child.cast_signed()).expect("a process id");
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("a child of the server");
        }
    }

    /// Each connection is served by a child of the server: those hold the token.
    pub fn children(&self) -> Vec<u32> {
        let server = self.server.id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        for child in self.children() {
            if let Some(pid) = rustix::process::Pid::from_raw(child.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
