//! `token self-test`: logs in once, and compares what works with what the configuration needs.

use super::{status, trial::LoginOnce};
use crate::cli::{
    error::{CliError, Exit},
    output::Output,
    token_access::StationArgs,
};

const AFTER: &str = "\
What `token status` checks, and then one login with the configured PIN: every
configured key is looked for and tried with each scheme, as the service does when
it starts, and how it was made is shown. The trial is recorded in the
administrators' log before it is made. A PIN that is refused is not tried again.

Exit code 8 if something does not work that the configuration needs.

Examples:
  stationmaster token self-test --config /etc/stationmaster/stationmaster.toml
  stationmaster token self-test --state /tmp/station-1 --output json";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    station: StationArgs,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<Exit, CliError> {
    status::show(&args.station, LoginOnce::As("token self-test"), output)
}
