//! The log: standard error, lines for people or JSON. Never a payload, a key or a PIN.
//!
//! No write of the log waits for whatever reads it: lines pass through a bounded queue ([`lines`]), and what finds no room is dropped
//! and counted. A file alone is written to at once. The same holds for everything else that this process writes to standard error, a token's library included
//! ([`captured`]).

mod captured;
mod journal;
mod lines;

use std::{
    io::{self, IsTerminal},
    sync::Mutex,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use self::{captured::Captured, lines::Lines};
use super::ServerError;
use crate::config::{Log, LogFormat};

/// How long the end of the process waits for what standard error has not taken yet.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What [`finish`] ends.
static STARTED: Mutex<Option<(Captured, Lines)>> = Mutex::new(None);

/// Starts the log, once per process.
///
/// # Errors
/// When the filter cannot be read, there is a log already, or standard error cannot be had.
pub fn start(log: &Log) -> Result<(), ServerError> {
    let flaw = |error: &dyn std::fmt::Display| ServerError::Setup(format!("log: {error}"));
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| flaw(&error))?;
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !terminal,
    };
    let lines = Lines::to_stderr().map_err(|error| flaw(&error))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(journal::Prefixed::new(lines.clone()));
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        registry.with(layer.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none())).try_init()
    }
    .map_err(|error| flaw(&error))?;
    if lines.is_queued() {
        let captured = Captured::stderr(lines.clone()).map_err(|error| flaw(&error))?;
        if let Ok(mut started) = STARTED.lock() {
            *started = Some((captured, lines));
        }
    }
    Ok(())
}

/// Gives standard error a moment for what was written last. Nothing is written there afterwards.
pub fn finish() {
    let Some((captured, lines)) = STARTED.lock().ok().and_then(|mut started| started.take()) else { return };
    captured.close();
    lines.flush(LAST_LINES);
}
