//! Commands that load a PKCS#11 module run in a child process: a module that crashes is then an error with a remedy.

use std::{path::Path, time::Duration};

use stationmaster_keystore::{ModuleConfig, admin};
use stationmaster_system::child::{self, Crash};

use super::error::{CliError, Exit};

/// How long the trial of a module may take. One that takes longer is not reported here.
const TRIAL: Duration = Duration::from_secs(2);

/// Continues the command in a child process. Must be called before any thread runs, and before a PIN is read.
#[expect(unsafe_code, reason = "forks a process of one thread")]
pub(super) fn guard(modules: &[&Path]) -> Result<(), CliError> {
    // SAFETY: the command line runs on one thread until a runtime or a keystore is made, which happens in the child.
    let continued = unsafe { child::continue_in_child() }.map_err(cannot_fork)?;
    continued.map_err(|crash| crashed(modules, crash))
}

/// Loads and initialises modules in child processes, and finalises them: the crash of one is an error here. Other errors are those of
/// the modules' later use. Must be called before any thread runs.
#[expect(unsafe_code, reason = "forks a process of one thread")]
pub(super) fn try_modules<'a>(modules: impl IntoIterator<Item = &'a ModuleConfig>) -> Result<(), CliError> {
    for module in modules {
        let try_it = || drop(admin::try_module(module));
        // SAFETY: the command line runs on one thread until the runtime is made.
        if let Some(crash) = unsafe { child::try_in_child(TRIAL, try_it) }.map_err(cannot_fork)? {
            return Err(crashed(&[&module.path], crash));
        }
    }
    Ok(())
}

fn cannot_fork(error: std::io::Error) -> CliError {
    CliError::new(Exit::of_io(error.kind()), format!("a process for the PKCS#11 module cannot be started: {error}"))
}

fn crashed(modules: &[&Path], Crash(signal): Crash) -> CliError {
    let names: Vec<_> = modules.iter().map(|module| module.display().to_string()).collect();
    CliError::new(Exit::Unavailable, format!("the PKCS#11 module {} crashed ({signal})", names.join(" or "))).with_hint(
        "check it with its vendor's tools, or install another version; `[token] isolation = \"process\"` keeps a running service from \
         ending with its module",
    )
}
