//! The module in a process of its own.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use super::Outcome;
use crate::{tests::support::*, *};

/// The test that is the main function of the process.
const PROCESS: &str = "tests::suite::isolated::process_of_a_token";

#[test]
#[ignore = "is started by other tests, as a token's process"]
fn process_of_a_token() {
    // By itself it has no connection to a service.
    let _ = run_worker();
}

/// A process without a sandbox, which is entered before any thread runs: a test has several.
fn isolation() -> Isolation {
    Isolation {
        program: std::env::current_exe().unwrap(),
        arguments: [PROCESS, "--exact", "--ignored", "--test-threads=1"].map(Into::into).into(),
        sandbox: false,
        writable: Vec::new(),
    }
}

/// The token's process of this process.
fn process() -> Option<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let found: Vec<_> = children.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let is_token = |pid: &String| {
        let line = fs::read(PathBuf::from("/proc").join(pid).join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(PROCESS)
    };
    found.into_iter().find(is_token)
}

pub(super) async fn a_module_in_a_process_of_its_own_serves_and_is_replaced_when_it_is_killed(token: TestToken) -> Outcome {
    let token = token.and_keys();
    let config = KeystoreConfig { isolation: Some(isolation()), ..token.config(&["train", "general"]) };
    let keystore = Keystore::open(config).unwrap();
    for kill in 0..3 {
        for scheme in schemes_of(KeyType::Rsa) {
            sign_and_verify(&keystore, "general", scheme).await;
            assert_eq!(keystore.key("general").unwrap().capabilities[scheme.name()], token.signs(scheme));
        }
        wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
        keystore.check(None).await.unwrap();
        let killed = process().expect("a process has the token");
        assert!(Command::new("kill").args(["-KILL", &killed]).status().unwrap().success());
        for round in 0.. {
            assert!(round < 600, "no new process after kill {kill}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            if process().is_some_and(|new| new != killed) && keystore.check(None).await.is_ok() {
                break;
            }
        }
    }
    assert!(keystore.close());
    Outcome::Works
}
