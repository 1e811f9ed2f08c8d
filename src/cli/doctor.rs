//! `doctor`: checks a station as a whole, and names what is wrong and the command that mends it.

use std::{os::unix::net::UnixStream, path::Path, time::Duration};

use serde_json::json;

use super::{
    check_tree,
    client::ClientArgs,
    error::{CliError, Exit},
    health,
    output::Output,
    token::trial::{self, LoginOnce, protect},
    token_access::{Station, StationArgs},
};
use crate::{
    checks::{CheckNode, CheckState, certificate, engine, files, host, state},
    key_states::KEY_STATES,
};

const AFTER: &str = "\
Checks configuration, tokens and keys, state, engine, listeners and certificates,
trust, access, audit, disks, clock and the running service. Each item is a
success, a warning or a failure; what is not a success has its cause and the
command that mends it. What needs something broken is skipped, so the failure
that is shown is the cause.

One login is made with the configured PIN, unless it was refused before, and each
configured key is tried; the trial is recorded first. --no-login makes none.
Nothing else is changed. The service may be running.

Run it as the service's user, who may have fewer permissions than root:
  runuser -u stationmaster -- stationmaster doctor --config FILE

Exit code 8 if there is a failure, 0 if there are warnings at most, 2 if the
configuration cannot be read.

Examples:
  stationmaster doctor --config /etc/stationmaster/stationmaster.toml
  stationmaster doctor --state /tmp/station-1 --no-login --output json";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(flatten)]
    station: StationArgs,
    /// Make no login: the keys are not looked at
    #[arg(long)]
    no_login: bool,
}

pub(super) fn run(args: &Args, output: Output) -> Result<Exit, CliError> {
    protect()?;
    let station = args.station.open()?;
    let login = if args.no_login { LoginOnce::Never } else { LoginOnce::As("doctor") };
    let findings = findings(&station, login)?;
    let failed = findings.iter().filter(|finding| finding.fails()).count();
    let state = if failed > 0 {
        "failure"
    } else if findings.iter().any(CheckNode::warns) {
        "warning"
    } else {
        "success"
    };
    let nodes: Vec<_> = findings.iter().map(check_tree::json).collect();
    output.result(&json!({ "station": station.config.station, "state": state, "nodes": nodes }), || {
        format!(
            "Station {}, checked as {}: {state}\n{}",
            station.config.station,
            files::current_user(),
            check_tree::people(&findings)
        )
    });
    Ok(if failed > 0 { Exit::Broken } else { Exit::Done })
}

fn findings(station: &Station, login: LoginOnce) -> Result<Vec<CheckNode>, CliError> {
    let config = &station.config;
    // Before any thread runs: a module may be configured by the environment.
    let tokens = trial::all(station, login);
    let mut all = vec![CheckNode::new("Configuration", CheckState::Usable, station.options.clone())];
    all.extend(tokens);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::other(format!("cannot start: {error}")))?;
    let directory = state::directory(config);
    // Files below a directory that others control are refused for that reason alone.
    let is_in_state = |path: &Path| directory.fails() && path.starts_with(&config.state.directory);
    let unless_in_state = |what, path: &Path, check: &dyn Fn() -> CheckNode| {
        if is_in_state(path) { CheckNode::skipped(what, "not checked: it is below the state directory") } else { check() }
    };
    all.push(directory.clone());
    let key_states = config.state.directory.join(KEY_STATES);
    all.push(unless_in_state("Key states", &key_states, &|| state::key_states(config, &station.options)));
    all.extend(files::other_directories(config));
    all.push(host::disk(config));
    all.extend(runtime.block_on(state::history(config)));
    all.extend(config.audit.second.as_ref().map(files::second));
    all.push(engine::answers(config, runtime.handle()));
    let trust = config.trust.file.clone().unwrap_or_default();
    all.push(unless_in_state("Trust", &trust, &|| files::trust_file(config)));
    all.push(unless_in_state("Access", &config.access_file(), &|| files::access_file(config)));
    all.extend(config.listen.unix.as_deref().map(|path| {
        let found = files::unix(path, config.listen.unix_group.as_deref());
        let state = if found.state == CheckState::NotYet { CheckState::Wrong } else { found.state };
        CheckNode { state, ..found }
    }));
    all.extend(config.listen.tcp.as_ref().map(|tcp| unless_in_state("TLS", &tcp.cert, &|| certificate::accepted(tcp))));
    all.push(host::clock());
    let is_cause = all.iter().any(CheckNode::fails);
    all.push(service(station, &runtime, is_cause));
    Ok(all)
}

/// Asks the running service for its health.
fn service(station: &Station, runtime: &tokio::runtime::Runtime, is_cause: bool) -> CheckNode {
    const WHAT: &str = "Service";
    let Some(socket) = &station.config.listen.unix else {
        return CheckNode::skipped(WHAT, "it has no Unix socket: `health --address` asks it");
    };
    if UnixStream::connect(socket).is_err() {
        return CheckNode::skipped(WHAT, "it is not running, or its socket cannot be reached");
    }
    let client = ClientArgs::at(format!("unix://{}", socket.display()), Duration::from_secs(10));
    match runtime.block_on(health::overall(&client)) {
        Ok(()) => CheckNode::new(WHAT, CheckState::Usable, "SERVING"),
        Err(error) => {
            let state = if is_cause { CheckState::Warned } else { CheckState::Wrong };
            CheckNode::new(WHAT, state, error.message)
                .with_remedy(error.hint.unwrap_or_else(|| "`stationmaster health` shows each component".to_owned()))
        }
    }
}
