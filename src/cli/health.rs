//! `health`: reports whether the service is serving, and what is wrong when it is not. For container health checks and start-up scripts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stationmaster_proto as pb;
use stationmaster_proto::ComponentState;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{
    client::ClientArgs,
    error::{CliError, Exit},
    output::{Output, fields},
};
use crate::service::status::Reason;

const AFTER: &str = "\
Exit code 0 when the service serves, 6 when it does not or cannot be reached.
SERVING means that every component can be used:

  token    it is logged in and answers
  keys     each configured key is there and can do what it is for
  engine   it answers, and what an earlier process left is mended
  layouts  the same, where there is no engine
  trust    the trust file, where [trust] mode needs one
  access   the access file
  audit    records can be written
  disk     [limits] spool_min_free_mib are free, and some for the state

The components and their reasons need a grant of GetStatus, which every role but
reader has. Without one the answer is the state alone.

Examples:
  stationmaster health --wait 60
  stationmaster health --output json
  stationmaster health --service stationmaster.v1.KeyService";

/// How often a service that does not serve yet is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// One service's health, by full name; the whole's without it
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// Ask again for so many seconds until it serves
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let until = Instant::now() + Duration::from_secs(args.wait.into());
    loop {
        let failed = match ask(&args).await {
            Ok(standing) => {
                output.result(&standing.json(&args.service), || standing.people());
                return Ok(());
            }
            Err(failed) => failed,
        };
        // What is not permitted, and what is wrongly called, does not change by itself.
        if failed.exit != Exit::Unavailable || Instant::now() + AGAIN_AFTER > until {
            return Err(failed);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// A service that serves, with its components where this caller may know them.
struct Standing(Option<pb::GetStatusResponse>);

async fn ask(args: &Args) -> Result<Standing, CliError> {
    let request = args.client.request(HealthCheckRequest { service: args.service.clone() });
    let status = args.client.health().await?.check(request).await?.into_inner().status();
    let told = args.client.status().await?.get_status(args.client.request(pb::GetStatusRequest {})).await;
    let (standing, hint) = match told {
        Ok(answer) => (Standing(Some(answer.into_inner())), "each component's line says what to do"),
        // A service of before, or a caller without the grant.
        Err(error) if [Code::PermissionDenied, Code::Unimplemented].contains(&error.code()) => (
            Standing(None),
            "its log and `systemctl status` say what is missing; a grant of GetStatus (`access allow PRINCIPAL --rpc GetStatus`) \
             has it said here",
        ),
        Err(error) => return Err(error.into()),
    };
    if status == ServingStatus::Serving {
        return Ok(standing);
    }
    let mut error = CliError::of_reason(
        Reason::NotReady,
        format!("{} is {}{}", what(&args.service), status.as_str_name(), standing.missing(&args.service)),
    )
    .with_hint(hint);
    error.metadata = standing.components().map(|component| (component.name.clone(), state(component))).collect();
    Err(error)
}

fn what(service: &str) -> &str {
    if service.is_empty() { "the service" } else { service }
}

/// A component's state with its reason, as one text.
fn state(component: &pb::Component) -> String {
    let name = name(component.state());
    if component.reason.is_empty() { name.to_owned() } else { format!("{name}: {}", component.reason) }
}

fn name(state: ComponentState) -> &'static str {
    match state {
        ComponentState::Ready => "ready",
        ComponentState::Starting => "starting",
        ComponentState::Unusable | ComponentState::Unspecified => "unusable",
    }
}

impl Standing {
    fn components(&self) -> impl Iterator<Item = &pb::Component> {
        self.0.iter().flat_map(|answer| &answer.components)
    }

    /// What a service lacks, a line each.
    fn missing(&self, service: &str) -> String {
        let lines = self.components().filter(|component| {
            component.state() != ComponentState::Ready
                && (service.is_empty() || component.services.iter().any(|name| name == service))
        });
        lines.map(|component| format!("\n  {}: {}", component.name, state(component))).collect()
    }

    fn json(&self, service: &str) -> Value {
        let component = |component: &pb::Component| {
            let since = component.since.as_ref().and_then(|since| jiff::Timestamp::from_second(since.seconds).ok());
            json!({
                "name": component.name,
                "state": name(component.state()),
                "reason": (!component.reason.is_empty()).then_some(&component.reason),
                "since": since.map(|since| since.to_string()),
                "services": component.services,
            })
        };
        json!({
            "service": service,
            "status": ServingStatus::Serving.as_str_name(),
            "station": self.0.as_ref().map(|answer| &answer.station),
            "version": self.0.as_ref().map(|answer| &answer.version),
            "components": self.0.as_ref().map(|answer| answer.components.iter().map(component).collect::<Vec<_>>()),
        })
    }

    fn people(&self) -> String {
        let lines: Vec<_> = self.components().map(|component| (component.name.as_str(), state(component))).collect();
        format!("{}\n{}", ServingStatus::Serving.as_str_name(), fields(&lines))
    }
}
