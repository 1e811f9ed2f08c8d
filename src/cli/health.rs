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
Exit code 0 if the service is serving, 6 if it is not or cannot be reached.
SERVING means that every component is usable:

  token    it is logged in and responds
  keys     each configured key exists and supports its purpose
  engine   it responds, and recovery from an earlier crash is complete
  layouts  the same, if there is no engine
  trust    the trust file, if [trust] mode needs one
  access   the access file
  audit    records can be written
  disk     [limits] spool_min_free_mib are free, and some space for the state
  tls      with [listen.tcp]: its files are usable, and none has expired

A usable component may have a warning, for example that the PIN file no longer
exists while the login lasts.

Components and reasons are shown to callers with a grant of GetStatus, which
every role except reader has. Other callers see only the state.

Examples:
  stationmaster health --wait 60
  stationmaster health --output json
  stationmaster health --service stationmaster.v1.KeyService";

/// Interval between requests while the service is not serving.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// The health of one gRPC service, by its full name; of all without it
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// Repeat the request for this many seconds until the service is serving
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let until = Instant::now() + Duration::from_secs(args.wait.into());
    loop {
        let failed = match ask(&args).await {
            Ok(service_status) => {
                output.result(&service_status.json(&args.service), || service_status.people());
                return Ok(());
            }
            Err(failed) => failed,
        };
        // A missing permission or a wrong call does not change without a change of its cause.
        if failed.exit != Exit::Unavailable || Instant::now() + RETRY_INTERVAL > until {
            return Err(failed);
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Returns without an error if the whole service is serving.
pub(super) async fn overall(client: &ClientArgs) -> Result<(), CliError> {
    ask(&Args { service: String::new(), wait: 0, client: client.clone() }).await.map(drop)
}

/// The status of a service, with its components if this caller has a grant for them.
struct ServiceStatus(Option<pb::GetStatusResponse>);

async fn ask(args: &Args) -> Result<ServiceStatus, CliError> {
    let request = args.client.request(HealthCheckRequest { service: args.service.clone() });
    let status = args.client.health().await?.check(request).await?.into_inner().status();
    let response = args.client.status().await?.get_status(args.client.request(pb::GetStatusRequest {})).await;
    let (service_status, hint) = match response {
        Ok(answer) => (ServiceStatus(Some(answer.into_inner())), "each component's line names the remedy"),
        // An older service, or a caller without the grant.
        Err(error) if [Code::PermissionDenied, Code::Unimplemented].contains(&error.code()) => (
            ServiceStatus(None),
            "its log and `systemctl status` show what is missing; with a grant of GetStatus (`access allow PRINCIPAL --rpc GetStatus`) \
             this command shows it",
        ),
        Err(error) => return Err(error.into()),
    };
    if status == ServingStatus::Serving {
        return Ok(service_status);
    }
    let mut error = CliError::of_reason(
        Reason::NotReady,
        format!("{} is {}{}", what(&args.service), status.as_str_name(), service_status.missing(&args.service)),
    )
    .with_hint(hint);
    error.metadata = service_status.components().map(|component| (component.name.clone(), state(component))).collect();
    Err(error)
}

fn what(service: &str) -> &str {
    if service.is_empty() { "the service" } else { service }
}

/// Returns a component's state with its reason.
fn state(component: &pb::Component) -> String {
    let name = name(component.state());
    match component.state() {
        _ if component.reason.is_empty() => name.to_owned(),
        ComponentState::Ready => format!("{name}, with a warning: {}", component.reason),
        _ => format!("{name}: {}", component.reason),
    }
}

fn name(state: ComponentState) -> &'static str {
    match state {
        ComponentState::Ready => "ready",
        ComponentState::Starting => "starting",
        ComponentState::Unusable | ComponentState::Unspecified => "unusable",
    }
}

impl ServiceStatus {
    fn components(&self) -> impl Iterator<Item = &pb::Component> {
        self.0.iter().flat_map(|answer| &answer.components)
    }

    /// Returns the components that are not ready, a line each.
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
