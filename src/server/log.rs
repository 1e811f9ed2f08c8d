//! The log on standard error, as text lines or JSON. It never contains a payload, a key or a PIN.
//!
//! No write to the log waits for its reader: lines pass through a bounded queue ([`lines`]), and lines that do not fit are
//! dropped and counted. Only a regular file is written to directly. The same applies to everything else that this process writes
//! to standard error, including a token's library ([`captured`]).

mod captured;
mod journal;
mod lines;

use std::{
    io::{self, IsTerminal},
    sync::Mutex,
    time::Duration,
};

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use self::{captured::Captured, lines::Lines};
use super::ServerError;
use crate::config::{LogConfig, LogFormat};

/// Time that the process waits at its end for standard error to accept the remaining lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The parts that [`finish`] ends.
static STARTED: Mutex<Option<(Captured, Lines)>> = Mutex::new(None);

/// Starts the log, once per process.
///
/// # Errors
/// When the filter cannot be parsed, a log exists already, or standard error is not available.
pub fn start(log: &LogConfig) -> Result<(), ServerError> {
    let flaw = |error: &dyn std::fmt::Display| ServerError::Setup(format!("log: {error}"));
    let filter = targets(&log.filter).map_err(|error| flaw(&error))?;
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

/// Waits a moment until standard error has accepted the last lines. Nothing is written there afterwards.
pub fn finish() {
    let Some((captured, lines)) = STARTED.lock().ok().and_then(|mut started| started.take()) else { return };
    captured.close();
    lines.flush(LAST_LINES);
}

/// Parses a list of levels and `target=level` pairs, as in `warn,stationmaster::audit=debug`. A target is a prefix of module
/// paths, and the longest match applies: `stationmaster` is that of all crates of this program. The level without a target applies to all other modules; without one, they log nothing.
fn targets(filter: &str) -> Result<Targets, String> {
    let level = |name: &str| match name.parse::<LevelFilter>() {
        Ok(level) if !name.is_empty() => Ok(level),
        _ => Err(format!(
            "the filter names `{name}`, which is not a level: use off, error, warn, info, debug or trace, or target=level"
        )),
    };
    if filter.trim().is_empty() {
        return Ok(Targets::new().with_default(LevelFilter::ERROR));
    }
    filter.split(',').map(str::trim).filter(|part| !part.is_empty()).try_fold(Targets::new(), |targets, part| {
        Ok(match part.split_once('=') {
            None => targets.with_default(level(part)?),
            Some((target, of_target)) => targets.with_target(target.trim(), level(of_target.trim())?),
        })
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_is_a_level_and_levels_of_targets() {
        let of = |filter: &str| {
            let targets = targets(filter).unwrap();
            ["h2", "stationmaster::server", "stationmaster_image::store", "stationmaster::audit::log"].map(|target| {
                let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
                levels.iter().filter(|level| targets.would_enable(target, level)).count()
            })
        };
        assert_eq!(of("info"), [3, 3, 3, 3]);
        assert_eq!(of(""), [1, 1, 1, 1]);
        assert_eq!(of("off"), [0, 0, 0, 0]);
        assert_eq!(of("stationmaster=debug"), [0, 4, 4, 4]);
        assert_eq!(of("warn, stationmaster = debug, stationmaster::audit=trace"), [2, 4, 4, 5]);
    }

    #[test]
    fn a_filter_without_a_valid_level_is_refused() {
        for (filter, named) in
            [("inof", "`inof`"), ("stationmaster=loud", "`loud`"), ("info,h2=", "``"), ("h2[{stream}]", "`h2[{stream}]`")]
        {
            let error = targets(filter).unwrap_err();
            assert!(error.contains(named), "{filter}: {error}");
        }
    }
}
