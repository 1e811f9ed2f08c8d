//! The station's key lives in the token: made there, never out of it, and used no more than the protocol needs.

mod admission;
mod away;
#[cfg(feature = "crash-points")]
mod intents;
mod made;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeInfo, AttributeType, ObjectClass},
    session::UserType,
    types::AuthPin,
};
use stationmaster_proto::KeyPurpose;

use crate::support::{Launch, Mode, Peer, Station, Train, as_root, wait_for};

/// The first of these files that is there.
#[track_caller]
fn installed(places: &[&str]) -> String {
    let found = places.iter().find(|place| Path::new(place).is_file());
    (*found.unwrap_or_else(|| panic!("none of {places:?} is there: run `make test`, which installs it"))).to_owned()
}

fn spy() -> String {
    installed(&[
        "/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so",
        "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so",
        "/usr/lib64/pkcs11/pkcs11-spy.so",
    ])
}

fn softhsm() -> PathBuf {
    stationmaster_keystore::softhsm::find_module().expect("SoftHSM's module: run `make test`, which installs it")
}

/// OpenSC's tool on a station's token, logged in.
fn pkcs11_tool(station: &Station, arguments: &[&str]) -> Output {
    Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", station.softhsm_conf())
        .env("TOKEN_PIN", station.pin())
        .arg("--module")
        .arg(softhsm())
        .args(["--token-label", "stationmaster-dev", "--login", "--pin", "env:TOKEN_PIN"])
        .args(arguments)
        .output()
        .expect("pkcs11-tool: run `make test`, which installs it")
}

#[test]
fn the_train_key_is_made_in_the_token_and_never_extractable_says_the_service() {
    let station = Station::with("a").bits(4096).makes_token().start();
    let key = station.key("a").unwrap();
    assert_eq!((key.purpose(), key.bits), (KeyPurpose::Train, 4096));
    assert!(key.generated_in_token && key.sensitive && key.never_extractable && !key.extractable, "{key:?}");
}

#[test]
fn the_train_key_is_made_in_the_token_and_never_extractable_says_another_tool() {
    let station = Station::with("a").makes_token().start();
    let listed = pkcs11_tool(&station, &["--list-objects", "--type", "privkey"]);
    assert!(listed.status.success(), "{listed:?}");
    let text = String::from_utf8(listed.stdout).unwrap();
    let of_key = text.split("Private Key Object").find(|object| object.lines().any(|line| line.trim() == "label:      a"));
    let access = of_key.and_then(|object| object.lines().find_map(|line| line.trim().strip_prefix("Access:")));
    assert_eq!(access.map(str::trim), Some("sensitive, always sensitive, never extractable, local"), "{text}");

    let public = pkcs11_tool(&station, &["--read-object", "--type", "pubkey", "--label", "a"]);
    assert_eq!(public.stdout, station.key("a").unwrap().public_key_der);
}

#[test]
fn whoever_has_the_pin_cannot_take_the_train_key_out() {
    let station = Station::start("a");
    // SAFETY: no other test sets or reads this variable in its own process, and services set their own.
    unsafe { std::env::set_var(stationmaster_keystore::softhsm::CONF_VARIABLE, station.softhsm_conf()) };
    let token = Pkcs11::new(softhsm()).unwrap();
    token.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = token.get_slots_with_initialized_token().unwrap();
    let session = token.open_rw_session(slots[0]).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(station.pin().into()))).unwrap();
    let found = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label("a".into())]).unwrap();
    let [key] = found[..] else { panic!("not one private key: {found:?}") };

    let secret = [AttributeType::PrivateExponent, AttributeType::Prime1, AttributeType::Prime2, AttributeType::Exponent1];
    for (attribute, answer) in secret.iter().zip(session.get_attribute_info(key, &secret).unwrap()) {
        assert!(matches!(answer, AttributeInfo::Sensitive), "{attribute:?} can be read: {answer:?}");
    }
    for weaker in [Attribute::Sensitive(false), Attribute::Extractable(true)] {
        session.update_attributes(key, std::slice::from_ref(&weaker)).expect_err("the key could be weakened");
    }
    let wrapping = session.generate_key(&Mechanism::AesKeyGen, &[Attribute::ValueLen(32.into()), Attribute::Wrap(true)]).unwrap();
    let wrapped = session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, key);
    assert!(matches!(wrapped, Err(Error::Pkcs11(RvError::KeyUnextractable, _))), "the key could be wrapped: {wrapped:?}");
}

/// What `pkcs11-spy` wrote down.
pub struct SpyLog(PathBuf);

/// Uses of private keys: operations begun, and operations that gave a result.
#[derive(Debug, PartialEq, Eq)]
struct Uses {
    signatures: (usize, usize),
    decryptions: (usize, usize),
    /// Every other call that uses a key.
    others: usize,
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

    fn uses(&self) -> Uses {
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

/// Takes a train past a station and counts what that cost on the token.
#[track_caller]
fn costs_one_decryption_and_two_signatures(station: &Station, log: &SpyLog) {
    let train = Train::of(&[station.seat()]).make();
    let before = log.uses();
    let run = station.pre_run(&train.image).unwrap();
    let opened = log.uses();
    Peer::newest().run_train(&train.image, Mode::Commit, &[]);
    station.post_run(&run.run_id).unwrap();
    let closed = log.uses();

    let between = |before: (usize, usize), after: (usize, usize)| (after.0 - before.0, after.1 - before.1);
    assert_eq!(between(before.decryptions, opened.decryptions), (1, 1), "pre-run decrypts once");
    assert_eq!(between(before.signatures, opened.signatures), (0, 0), "pre-run signs nothing");
    assert_eq!(between(opened.decryptions, closed.decryptions), (0, 0), "post-run decrypts nothing");
    assert_eq!(between(opened.signatures, closed.signatures), (2, 2), "post-run signs twice");
    assert_eq!(before.others, closed.others, "no key is used in any other way");
    // The start's own trial was seen, so the counting counts.
    assert!(before.decryptions.1 > 0 && before.signatures.1 > 0, "{before:?}");
    assert_eq!(train.open(&[]).files, train.expected_results(1));
}

#[test]
fn a_pre_run_and_post_run_cost_one_decryption_and_two_signatures_on_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let (log, launch) = SpyLog::on(directory.path().join("spy.log"), Station::with("a"));
    let station = launch.start();
    costs_one_decryption_and_two_signatures(&station, &log);
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
    fn children(&self) -> Vec<u32> {
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

/// Whether a process has SoftHSM, and with it keys, in its memory.
fn has_softhsm(pid: u32) -> bool {
    let maps = as_root("cat").arg(format!("/proc/{pid}/maps")).output().expect("cat, and sudo where the test is not root");
    assert!(maps.status.success(), "the maps of {pid} cannot be read");
    String::from_utf8_lossy(&maps.stdout).contains("libsofthsm2")
}

#[test]
fn a_train_passes_with_the_token_in_another_process() {
    let mut station = Station::start("a");
    station.stop();
    let server = TokenServer::start(&station);
    let log = SpyLog(station.state().join("spy.log"));
    let client = TokenServer::client();
    let path = log.0.to_str().unwrap().to_owned();
    for (name, value) in [
        ("SOFTHSM2_MODULE", spy().as_str()),
        ("PKCS11SPY", &client),
        ("PKCS11SPY_OUTPUT", &path),
        ("P11_KIT_SERVER_ADDRESS", &server.address),
    ] {
        station.set_env(name, Some(value));
    }
    station.start_again();
    assert!(!has_softhsm(station.pid()), "the token is in the service's own process");
    wait_for("a process that holds the token", || server.children().into_iter().find(|pid| has_softhsm(*pid)));
    costs_one_decryption_and_two_signatures(&station, &log);
}
