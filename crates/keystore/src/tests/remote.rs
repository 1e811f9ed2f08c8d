//! Tests with the token in another process, through `p11-kit server`: behaviour of a network HSM, and its loss.

#![expect(unsafe_code, reason = "changes the environment while no other thread runs, or speaks to a module without a wrapper")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    several_tokens::{OTHER, import, second_token},
    support::*,
};
use crate::*;

const CLIENTS: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so"];

struct Server(Child);

impl Server {
    fn start(station: &TestToken) -> Server {
        let socket = station.dir.path().join("p11.sock");
        let _ = std::fs::remove_file(&socket);
        let mut child = Command::new("p11-kit")
            .args(["server", "--foreground", "--sh", "--name"])
            .arg(&socket)
            .arg("--provider")
            .arg(&station.module)
            .arg(format!("pkcs11:token={TOKEN}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt install p11-kit");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("P11_KIT_SERVER_ADDRESS="), "{line:?}");
        // SAFETY: see `Station::new`.
        unsafe { std::env::set_var("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display())) };
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Each connection is served by a child of the server: those hold the token.
        let server = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", child]).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn client() -> &'static str {
    CLIENTS.into_iter().find(|client| Path::new(client).is_file()).expect("apt install p11-kit-modules")
}

#[tokio::test]
async fn a_token_in_another_process_works_goes_and_comes_back() {
    let client = client();
    let station = TestToken::with_keys();
    let server = Server::start(&station);
    let config =
        station.config_with(TokenAccess { module: PathBuf::from(client).into(), ..station.access() }, &["train", "general"]);
    let keystore = Keystore::open(config).unwrap();
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
    sign_and_verify(&keystore, "general", SignScheme::Pkcs1(Hash::Sha384)).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
    keystore.check(None).await.unwrap();

    drop(server);
    let gone = keystore.check(None).await;
    assert!(matches!(gone, Err(KeystoreError::Unavailable { .. })), "{gone:?}");
    assert!(keystore.pool().state().ready().is_err());
    let refused = sign(&keystore, "train", SignScheme::PssSha512MaxSalt, &[0; 64], None).await;
    assert!(matches!(refused, Err(KeystoreError::Unavailable { .. })), "{refused:?}");

    let _server = Server::start(&station);
    let since = Instant::now();
    while keystore.check(None).await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(5), "recovery takes too long");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
}

/// Set in a worker process of these tests.
const WORKER: &str = "STATIONMASTER_TEST_WORKER";

/// This program as a worker process.
fn worker_process() -> Isolation {
    // SAFETY: see `TestToken::new`.
    unsafe { std::env::set_var(WORKER, "1") };
    let arguments = ["tests::remote::the_main_function_of_a_worker_process", "--exact", "--nocapture"];
    let arguments = arguments.into_iter().map(Into::into).collect();
    Isolation { program: "/proc/self/exe".into(), arguments, sandbox: false, writable: Vec::new() }
}

#[test]
fn the_main_function_of_a_worker_process() {
    if std::env::var_os(WORKER).is_some() {
        run_worker().unwrap();
    }
}

#[tokio::test]
async fn a_token_that_is_killed_under_load_costs_no_call_that_another_can_serve_and_is_used_again_when_it_is_back() {
    let client = client();
    let station = TestToken::new();
    let other = second_token(&station);
    import(&station, &[TOKEN, OTHER], "train");
    let server = Server::start(&station);
    let remote = TokenAccess { module: PathBuf::from(client).into(), ..station.access() };
    // p11-kit's client may leave a call hanging when its server dies: only a new process helps then.
    let remote = KeystoreConfig { isolation: Some(worker_process()), ..station.config_with(remote, &["train"]) };
    let configs = vec![remote, station.config_with(other, &["train"])];
    let keystore = Keystore::open_tokens(configs).unwrap();
    let id = keystore.key("train").unwrap().id;
    let ended = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (keystore, ended) = (keystore.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let (mut served, mut lost) = (0, Vec::new());
                while !ended.load(Ordering::Relaxed) {
                    match keystore.sign(id, SignScheme::PssSha512MaxSalt, &[7; 64], None).await {
                        Ok(_) => served += 1,
                        Err(error) => lost.push(error),
                    }
                }
                (served, lost)
            })
        })
        .collect();
    let both_serve = async || {
        let since = Instant::now();
        loop {
            let _ = keystore.check(None).await;
            if keystore.tokens().iter().all(|token| token.unavailable.is_none()) {
                return since.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(server);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let away = keystore.tokens().remove(0).unavailable;
    assert!(matches!(away, Some(KeystoreError::Unavailable { .. })), "{away:?}");
    let _server = Server::start(&station);
    let back = tokio::time::timeout(Duration::from_secs(60), both_serve()).await;
    let back = back.unwrap_or_else(|_| panic!("the token is never used again: {:?}", keystore.tokens()));
    let before = keystore.calls_by_token()[0];
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(keystore.calls_by_token()[0] > before, "no call goes to the token that is back");
    ended.store(true, Ordering::Relaxed);
    let mut served = 0;
    for caller in callers {
        let (calls, lost) = caller.await.unwrap();
        assert_eq!(lost, [], "calls were lost");
        served += calls;
    }
    println!("{served} calls served, 0 lost; the token was used again {} ms after it was back", back.as_millis());
}
