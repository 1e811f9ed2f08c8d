//! `token-worker`: the process of a token whose module is not loaded into the service. The service starts it, with a connection as
//! standard input.

use std::io::{self, IsTerminal};

use stationmaster_keystore::run_worker;
use stationmaster_system::memory;

use super::error::CliError;

pub(super) fn run() -> Result<(), CliError> {
    memory::protect_process().map_err(|error| CliError::other(format!("the process cannot be protected: {error}")))?;
    // Written by the calling thread: the sandbox must be entered before another one runs. The service passes the lines on.
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false);
    if io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().flatten_event(true).init();
    }
    run_worker().map_err(|error| {
        CliError::usage(format!("the token's process cannot work: {error}"))
            .with_hint("the service starts it where [token] isolation is \"process\"; it is no command for people")
    })
}
