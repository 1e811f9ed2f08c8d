//! The log: standard error, lines for people or JSON. Never a payload, a key or a PIN.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use super::ServerError;
use crate::config::{Log, LogFormat};

/// Starts the log, once per process.
///
/// # Errors
/// When the filter cannot be read, or there is a log already.
pub fn start(log: &Log) -> Result<(), ServerError> {
    let flaw = |error: &dyn std::fmt::Display| ServerError::Setup(format!("log: {error}"));
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| flaw(&error))?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())).try_init()
    }
    .map_err(|error| flaw(&error))
}
