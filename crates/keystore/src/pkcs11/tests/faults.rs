//! Tests with a module that fails by rule (`tests/pkcs11-fault`).

#![expect(unsafe_code, reason = "changes the environment while no other thread runs")]

mod announced;
mod hanging;
mod idle;
mod logins;
mod matrix;
mod module;
mod passing_refusal;
mod persisting;
mod refused_salt;

use std::{path::PathBuf, process::Command};

use stationmaster_pkcs11_fault::{FaultModule, Journal, VARIABLE};

use crate::{pkcs11::module::lock, tests::support::*, *};

/// Set in a process that runs one test alone; its value is for that test.
const ALONE: &str = "STATIONMASTER_TEST_ALONE";

/// Returns the command that runs a test in a process of its own, which finds [`ALONE`] set to `what`.
fn alone(module: &str, test: &str, what: &str) -> Command {
    // Without the crate.
    let name = format!("{}::{test}", module.split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&name, "--exact", "--nocapture"]).env(ALONE, what);
    command
}

/// A token that is reached through the fault module.
struct FaultyToken {
    token: TestToken,
    fault: FaultModule,
    library: PathBuf,
}

impl FaultyToken {
    /// A token without keys. There are no rules yet.
    fn new() -> FaultyToken {
        FaultyToken::over(TestToken::new())
    }

    /// A token with the keys of [`TestToken::with_keys`].
    fn with_keys() -> FaultyToken {
        FaultyToken::over(TestToken::with_keys())
    }

    fn over(token: TestToken) -> FaultyToken {
        let fault = FaultModule::create(&token.dir.path().join("fault"), &token.module).unwrap();
        // SAFETY: see `TestToken::new`.
        unsafe { std::env::set_var(VARIABLE, fault.directory()) };
        FaultyToken { token, fault, library: FaultModule::library().unwrap() }
    }

    fn access(&self) -> TokenAccess {
        TokenAccess { module: self.library.clone().into(), ..self.token.access() }
    }

    /// Opens both keys, with as many sessions.
    fn open(&self, sessions: usize) -> Keystore {
        let config = self.token.config_with(self.access(), &["train", "general"]);
        Keystore::open(KeystoreConfig { sessions, ..config }).unwrap()
    }

    fn set(&self, rules: &str) {
        self.fault.set(rules).unwrap();
    }

    fn journal(&self) -> Journal {
        self.fault.journal().unwrap()
    }
}
