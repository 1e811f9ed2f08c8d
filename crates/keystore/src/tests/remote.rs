//! Tests with the token in another process, through `p11-kit server`: behaviour of a network HSM, and its loss.

#![expect(unsafe_code, reason = "changes the environment while no other thread runs, or speaks to a module without a wrapper")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::support::*;
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

#[tokio::test]
async fn a_token_in_another_process_works_goes_and_comes_back() {
    let Some(client) = CLIENTS.into_iter().find(|client| Path::new(client).is_file()) else {
        panic!("apt install p11-kit-modules");
    };
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
