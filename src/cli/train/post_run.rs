//! `train post-run`: seals a run's results for the next stop.

use serde_json::{Value, json};
use stationmaster_proto as pb;
use stationmaster_proto::post_run_response::Event as Message;

use crate::{
    cli::{
        client::ClientArgs,
        error::CliError,
        output::{Output, fields, yes},
        progress::{Event, follow},
    },
    service::status::Reason,
};

const AFTER: &str = "\
Without --image the results are read from the reference that pre-run wrote.
Without RUN_ID, --image must belong to the only open run of its train at this
station. The config is that of pre-run, never the image's.

An unchanged image is refused, because usually the container was not committed.
--no-results confirms that the run produced no results.

Examples:
  stationmaster train post-run 0198c1e2-… --output json
  stationmaster train post-run --image harbor.example/train:latest";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The run id that pre-run returned
    #[arg(required_unless_present = "image")]
    run_id: Option<String>,
    /// The image with the results; the sealed image is written to this reference
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// Seal an unchanged image: without this option it is refused
    #[arg(long)]
    no_results: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let request = pb::PostRunRequest {
        run_id: args.run_id.unwrap_or_default(),
        image: args.image.unwrap_or_default(),
        no_results: args.no_results,
    };
    let stream = args.client.trains().await?.post_run(args.client.request(request)).await?.into_inner();
    let outcome = follow(stream, |message| match message.event {
        Some(Message::Progress(progress)) => Event::Progress(progress),
        Some(Message::Outcome(outcome)) => Event::Done(outcome),
        None => Event::Nothing,
    })
    .await
    .map_err(note_open_run)?;
    output.result(&value(&outcome), || people(&outcome));
    Ok(())
}

/// Adds to the hint that the run is still open and can be corrected.
fn note_open_run(error: CliError) -> CliError {
    if error.reason.as_deref() != Some(Reason::ImagePolicyViolation.name()) {
        return error;
    }
    let hint = error.hint.as_deref().unwrap_or_default();
    let hint = format!("{hint}. The run stays open: correct the files, commit, and repeat post-run");
    error.with_hint(hint)
}

fn value(outcome: &pb::PostRunOutcome) -> Value {
    json!({
        "run_id": outcome.run_id,
        "image": outcome.image,
        "image_id": outcome.image_id,
        "results_digest": const_hex::encode(&outcome.results_digest),
        "result_files": outcome.result_files,
        "dropped_files": outcome.dropped_files,
        "plaintext_held_by": outcome.plaintext_held_by,
        "warnings": outcome.warnings,
        "repeated_answer": outcome.repeated_answer,
        "rules": super::rules::value(&super::rules::of_answer(&outcome.rules)),
    })
}

fn people(outcome: &pb::PostRunOutcome) -> String {
    fields(&[
        ("Run", outcome.run_id.clone()),
        ("Image", outcome.image.clone()),
        ("Image id", outcome.image_id.clone()),
        ("Results", const_hex::encode(&outcome.results_digest)),
        ("Result files", outcome.result_files.to_string()),
        ("Rules", super::rules::line(&super::rules::of_answer(&outcome.rules))),
        ("Dropped files", outcome.dropped_files.join(", ")),
        ("Repeated result", if outcome.repeated_answer { yes(true) } else { String::new() }),
    ]) + &super::notes(&outcome.warnings, &outcome.plaintext_held_by)
}
