//! `serve`: runs the service.

use std::{path::PathBuf, time::Duration};

use stationmaster_system::memory;

use super::{error::CliError, module_crash, token_access::config_of_environment};
use crate::{
    config::{Config, LogConfig, LogFormat, TokenConfig},
    dev,
    server::{bootstrap, log, state_directory},
};

const AFTER: &str = "\
Examples:
  stationmaster serve --config /etc/stationmaster/stationmaster.toml
  stationmaster serve --dev --station station-1 --state /tmp/station-1

A development station creates its own software token, keys and certificates in
DIR, listens on DIR/api.sock and a loopback port, trusts the keys in trains
(unless --trust names a file), and provides DIR/env while it serves:
  . /tmp/station-1/env && stationmaster key list

SIGTERM and SIGINT drain, a second one cancels running calls; SIGHUP reads the
TLS certificates again. The process always ends within 25 seconds after [limits]
drain_s. As a systemd service of Type=notify it is ready when it listens and has
checked every component once; `systemctl status` shows what is missing, and
`health --wait` waits until it is serving.

Only root can inspect the process: no core dump of it is written, other processes
of its user cannot read its memory or attach a debugger, and nothing that it
starts gains privileges.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// The configuration; STATIONMASTER_CONFIG is used without it
    #[arg(long, value_name = "FILE", conflicts_with = "dev")]
    config: Option<PathBuf>,
    /// Create and run a development station; NOT for real data
    #[arg(long, requires = "station", requires = "state")]
    dev: bool,
    /// With --dev: the station's id, also its train key's label; not a number
    #[arg(long, value_name = "ID", requires = "dev")]
    station: Option<String>,
    /// With --dev: the directory for all files
    #[arg(long, value_name = "DIR", requires = "dev")]
    state: Option<PathBuf>,
    /// With --dev: size of the train key when it is generated, in bits
    #[arg(long, default_value = "3072", value_parser = ["2048", "3072", "4096"])]
    bits: String,
    /// With --dev: trust only the keys in this file, not those in trains
    #[arg(long, value_name = "FILE", requires = "dev")]
    trust: Option<PathBuf>,
    /// With --dev: the engine's socket
    #[arg(long, value_name = "unix:///PATH", requires = "dev")]
    engine: Option<String>,
    /// With --dev: use OCI layouts in this directory instead of an engine, repository:tag in the directory `repository`
    #[arg(long, value_name = "DIR", requires = "dev", conflicts_with = "engine")]
    layouts: Option<PathBuf>,
    /// With --dev: the log's format
    #[arg(long, value_name = "FORMAT", default_value = "auto", value_parser = ["auto", "pretty", "json"])]
    log_format: String,
    /// With --dev: the log filter, a level or target=level pairs
    #[arg(long, value_name = "FILTER", default_value = "info", env = "STATIONMASTER_LOG")]
    log: String,
}

#[expect(unsafe_code, reason = "ignores a signal, and sets a variable before a thread runs")]
pub(super) fn run(args: Args) -> Result<(), CliError> {
    // First, before there is a secret or another thread.
    memory::protect_process().map_err(|error| CliError::other(format!("the process cannot be protected: {error}")))?;
    return_large_buffers();
    // SIGHUP must not end the process before its handler is installed.
    // SAFETY: sets a signal's disposition.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    if !args.dev {
        let Some(file) = args.config.or_else(config_of_environment) else {
            return Err(CliError::usage("no configuration is named: use --config FILE, or STATIONMASTER_CONFIG")
                .with_hint("`serve --dev --station ID --state DIR` creates a development station"));
        };
        let config = Config::load(&file)?;
        let in_service = config.tokens.all().iter().filter(|token| token.isolation().is_none());
        module_crash::try_modules(&in_service.map(TokenConfig::module).collect::<Vec<_>>())?;
        // Starts a thread.
        log::start(&config.log)?;
        let lock = state_directory::lock_state(&config.state.directory)?;
        return end(block_on(bootstrap::serve(config, lock, |_| {}))?);
    }
    // clap requires both.
    let (Some(station), Some(state)) = (args.station, args.state) else {
        return Err(CliError::usage("--dev needs --station and --state"));
    };
    let format = match args.log_format.as_str() {
        "json" => LogFormat::Json,
        "pretty" => LogFormat::Pretty,
        _ => LogFormat::Auto,
    };
    let settings = LogConfig { format, filter: args.log };
    log::start(&settings)?;
    let absolute = |path: Option<PathBuf>, option: &str| {
        path.map(std::path::absolute).transpose().map_err(|error| CliError::other(format!("{option}: {error}")))
    };
    let (trust, layouts) = (absolute(args.trust, "--trust")?, absolute(args.layouts, "--layouts")?);
    let bits = args.bits.parse().map_err(|_| CliError::usage("--bits is not a number"))?;
    let options = dev::DevOptions { station, state, bits, engine: args.engine, layouts, trust, log: settings };
    // SAFETY: the runtime, and with it the second thread, is created below.
    let station = unsafe { dev::DevStation::prepare(options) }?;
    end(block_on(station.serve())?)
}

/// Ends the process after an orderly shutdown. No exit handlers run, because a call may still hang in a library that has one.
#[expect(unsafe_code, reason = "ends the process without exit handlers")]
fn end<E: Into<CliError>>(ended: Result<(), E>) -> Result<(), CliError> {
    ended.map_err(Into::into)?;
    log::finish();
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

/// Returns large buffers to the system as soon as they are freed. glibc would otherwise keep them: a few configs of maximum size, each
/// on another thread, would occupy memory permanently.
#[allow(unsafe_code, reason = "sets an option of glibc, where that is the C library")]
fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a parameter of the allocator; the runtime, and with it the second thread, is created later.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Returns the number of the runtime's threads: half the cores. Token, audit log and streams have threads of their own, and idle threads
/// of the runtime cost context switches (docs/performance-choices.md).
fn runtime_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(runtime_threads())
        .enable_all()
        .build()
        .map_err(|error| CliError::other(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(future);
    // A check of a disk that hangs must not delay the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ended)
}
