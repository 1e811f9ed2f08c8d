//! `token status`: whether the configured tokens can be used, without a login.

use serde_json::json;

use super::trial::{self, LoginOnce, protect};
use crate::cli::{
    check_tree,
    error::{CliError, Exit},
    output::Output,
    token_access::StationArgs,
};

const AFTER: &str = "\
Loads the module of each configured token, finds the token, looks at the source
of the PIN, and says whether a login would be tried now: a PIN that the token
refused before is not, nor any PIN while wrong ones have nearly locked the token.
No login is made.

Exit code 8 if a token cannot be used.

Examples:
  stationmaster token status --config /etc/stationmaster/stationmaster.toml
  stationmaster token status --state /tmp/station-1 --output json";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    station: StationArgs,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<Exit, CliError> {
    show(&args.station, LoginOnce::Never, output)
}

/// Checks every configured token and shows what was found.
pub(super) fn show(station: &StationArgs, login: LoginOnce, output: Output) -> Result<Exit, CliError> {
    protect()?;
    let station = station.open()?;
    let tokens = trial::all(&station, login);
    let values: Vec<_> = tokens.iter().map(check_tree::json).collect();
    output.result(&json!({ "tokens": values }), || check_tree::people(&tokens));
    Ok(if tokens.iter().any(|token| token.fails()) { Exit::Broken } else { Exit::Done })
}
