//! Tests with a module that fails by rule (`tests/pkcs11-fault`).

#![expect(unsafe_code, reason = "changes the environment while no other thread runs")]

mod matrix;
mod module;

use std::path::PathBuf;

use stationmaster_pkcs11_fault::{FaultModule, Journal, VARIABLE};

use crate::{pkcs11::module::lock, tests::support::*};

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

    fn over(token: TestToken) -> FaultyToken {
        let fault = FaultModule::create(&token.dir.path().join("fault"), &token.module).unwrap();
        // SAFETY: see `TestToken::new`.
        unsafe { std::env::set_var(VARIABLE, fault.directory()) };
        FaultyToken { token, fault, library: FaultModule::library().unwrap() }
    }

    fn set(&self, rules: &str) {
        self.fault.set(rules).unwrap();
    }

    fn journal(&self) -> Journal {
        self.fault.journal().unwrap()
    }
}
