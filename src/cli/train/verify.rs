//! `train verify`: verifies a train.

use std::path::{Path, PathBuf};

use serde_json::json;
use stationmaster_proto as pb;
use stationmaster_proto::verify_train_request::Part;

use super::rules::{self, RuleRow};
use crate::{
    cli::{
        client,
        client::ClientArgs,
        error::{CliError, Exit},
        image_input,
        output::{Output, fields},
    },
    protocol,
    service::status::{Refusal, RpcError},
    trust,
};

const AFTER: &str = "\
Reports for each rule whether it was checked, was not checkable (with the cause),
or is broken. No private key is needed, and nothing is changed. An archive needs
no service and no engine: an uncompressed tar of /opt as an engine exports it,
the extractor's output, an archive of `docker save`, an OCI archive, or an OCI
layout directory (DIR or DIR:TAG); `-` is standard input. The service uses its
trusted keys; for an archive, --trust names them. The exit code is 8 if a rule is
broken.

Examples:
  stationmaster train verify harbor.example/train:latest
  stationmaster train verify --archive results.tar --trust trust.toml
  docker save harbor.example/train:latest | stationmaster train verify \\
      --archive - --output json | jq .holds";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train's image: repository:tag or sha256:…
    #[arg(required_unless_present = "archive")]
    image: Option<String>,
    /// Verify an archive in a file, or an OCI layout directory, without a service
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    archive: Option<PathBuf>,
    /// With --archive: the image, if there are several: its name, or a digest (sha256:…)
    #[arg(long = "image", value_name = "NAME", requires = "archive")]
    which: Option<String>,
    /// With --archive: the trusted keys, as `stationmaster trust` writes or exports them
    #[arg(long, value_name = "FILE", requires = "archive")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

/// The result of a verification.
struct VerifyResult {
    /// `image` or `archive`, and its name.
    what: (&'static str, String),
    holds: bool,
    train_id: String,
    session_id: Vec<u8>,
    stops_signed: u64,
    stops: u64,
    rules: Vec<RuleRow>,
}

pub(in crate::cli) fn run(args: Args, output: Output) -> Result<Exit, CliError> {
    let found = match args.archive {
        Some(file) => offline(&file, args.which.as_deref(), args.trust.as_deref())?,
        None => client::call(online(args.client, args.image.unwrap_or_default()))?,
    };
    let (kind, name) = &found.what;
    let value = json!({
        (*kind): name,
        "holds": found.holds,
        "train_id": found.train_id,
        "session_id": const_hex::encode(&found.session_id),
        "stops_signed": found.stops_signed,
        "stops": found.stops,
        "rules": rules::value(&found.rules),
    });
    output.result(&value, || people(&found));
    Ok(if found.holds { Exit::Done } else { Exit::Broken })
}

fn people(found: &VerifyResult) -> String {
    let verdict = match rules::broken(&found.rules) {
        broken if broken.is_empty() => "valid: no rule is broken".to_owned(),
        broken => format!("NOT valid: {}", broken.join(", ")),
    };
    fields(&[
        ("Train", found.train_id.clone()),
        ("Session", const_hex::encode(&found.session_id)),
        ("Stops signed", format!("{} of {}", found.stops_signed, found.stops)),
    ]) + "\n"
        + &rules::people(&found.rules)
        + "\n"
        + &fields(&[("Verdict", verdict)])
}

async fn online(client: ClientArgs, image: String) -> Result<VerifyResult, CliError> {
    let part = pb::VerifyTrainRequest { part: Some(Part::Image(image.clone())) };
    let request = client.request(tokio_stream::once(part));
    let answer = client.trains().await?.verify_train(request).await?.into_inner();
    Ok(VerifyResult {
        what: ("image", image),
        holds: answer.holds,
        train_id: answer.train_id,
        session_id: answer.session_id,
        stops_signed: answer.stops_signed.into(),
        stops: answer.stops.into(),
        rules: rules::of_answer(&answer.rules),
    })
}

/// Performs the same check without a service, with the same errors.
fn offline(file: &Path, which: Option<&str>, trust: Option<&Path>) -> Result<VerifyResult, CliError> {
    let store = trust.map(trust::file::read).transpose()?;
    let place = image_input::open(&file.to_string_lossy())?.choose(which);
    let verified = match &store {
        Some(store) => protocol::verify_place(place, Some(&|kind, id, key| store.check_key(kind, id, key)), &|| Ok(())),
        None => protocol::verify_place(place, None, &|| Ok(())),
    };
    let verified = verified.map_err(|error| RpcError::from(Refusal::from(error)))?;
    let report = &verified.proof.report;
    Ok(VerifyResult {
        what: ("archive", file.display().to_string()),
        holds: report.holds(),
        rules: rules::of_report(report),
        train_id: verified.train_id,
        session_id: verified.session_id,
        stops_signed: verified.proof.stops_signed as u64,
        stops: verified.proof.stops as u64,
    })
}
