//! `health`: whether the service serves. Made for container health checks.

use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{
    client::ClientArgs,
    error::{CliError, Exit},
    output::Output,
};

const AFTER: &str = "\
Exit code 0 when it serves, 6 when it does not or cannot be reached. SERVING means: the token is logged in and answers, and
so does the engine.

Example:
  stationmaster health --service stationmaster.v1.KeyService";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// One service's health, by full name; the whole's without it
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let request = args.client.request(HealthCheckRequest { service: args.service.clone() });
    let status = args.client.health().await?.check(request).await?.into_inner().status();
    if status != ServingStatus::Serving {
        return Err(CliError::new(Exit::Unavailable, format!("the service is {}", status.as_str_name()))
            .with_hint("its log says whether token or engine does not answer"));
    }
    output.result(&json!({ "service": args.service, "status": status.as_str_name() }), || status.as_str_name().to_owned());
    Ok(())
}
