//! `train pre-run`: opens a train at this station.

use std::path::PathBuf;

use serde_json::{Value, json};
use stationmaster_proto as pb;
use stationmaster_proto::pre_run_response::Event as Message;
use stationmaster_system::files::Readers;

use crate::cli::{
    client::ClientArgs,
    error::CliError,
    out_file::OutFile,
    output::{Output, fields, yes},
    progress::{Event, follow},
};

const AFTER: &str = "\
The image's reference then names the opened image; the sealed one is kept until
the run ends. The train's base image must be in the engine. With --output json
the last line is an object with run_id and the outcome; bytes are hex.

Example:
  stationmaster train pre-run harbor.example/train:latest \\
      --query-out query.json --output json";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train's image: repository:tag
    image: String,
    /// A repeated call with the same key and image returns the same result; derived if absent
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Write the train's query to a file, for its owner only; an existing file is replaced
    #[arg(long, value_name = "FILE")]
    query_out: Option<PathBuf>,
    /// The destination of the opened train
    #[arg(long, value_enum, default_value_t = OpenInto::Image)]
    into: OpenInto,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OpenInto {
    /// An image under the train's own name
    Image,
    /// Two volumes of the engine, to be mounted; no plaintext image is created
    Volume,
    /// The service's shared directory, to be bind-mounted: the fastest, for an engine on the same host
    Directory,
}

impl From<OpenInto> for pb::OpenInto {
    fn from(into: OpenInto) -> Self {
        match into {
            OpenInto::Image => Self::Image,
            OpenInto::Volume => Self::Volume,
            OpenInto::Directory => Self::Directory,
        }
    }
}

pub(in crate::cli) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let request = pb::PreRunRequest {
        image: args.image,
        idempotency_key: args.idempotency_key.unwrap_or_default(),
        into: pb::OpenInto::from(args.into).into(),
    };
    let stream = args.client.trains().await?.pre_run(args.client.request(request)).await?.into_inner();
    let outcome = follow(stream, |message| match message.event {
        Some(Message::Progress(progress)) => Event::Progress(progress),
        Some(Message::Outcome(outcome)) => Event::Done(outcome),
        None => Event::Nothing,
    })
    .await?;
    // The outcome first: the run is open, and its id must not be lost if the file cannot be written.
    output.result(&value(&outcome), || people(&outcome));
    match &args.query_out {
        Some(file) if outcome.has_query => OutFile::begin(file, true, Readers::Owner)?.write(&outcome.query),
        _ => Ok(()),
    }
}

fn value(outcome: &pb::PreRunOutcome) -> Value {
    json!({
        "run_id": outcome.run_id,
        "image": outcome.image,
        "image_id": outcome.image_id,
        "source_image_id": outcome.source_image_id,
        "session_id": const_hex::encode(&outcome.session_id),
        "stop_index": outcome.stop_index,
        "has_query": outcome.has_query,
        "query": const_hex::encode(&outcome.query),
        "dropped_files": outcome.dropped_files,
        "immutable_digest": const_hex::encode(&outcome.immutable_digest),
        "results_digest": const_hex::encode(&outcome.results_digest),
        "warnings": outcome.warnings,
        "repeated_answer": outcome.repeated_answer,
        "rules": super::rules::value(&super::rules::of_answer(&outcome.rules)),
        "mounts": outcome.mounts.iter().map(mount_value).collect::<Vec<_>>(),
    })
}

fn people(outcome: &pb::PreRunOutcome) -> String {
    fields(&[
        ("Run", outcome.run_id.clone()),
        ("Image", outcome.image.clone()),
        ("Image id", outcome.image_id.clone()),
        ("Source image", outcome.source_image_id.clone()),
        ("Session", const_hex::encode(&outcome.session_id)),
        ("Stop", outcome.stop_index.to_string()),
        ("Query", yes(outcome.has_query)),
        ("Immutable files", const_hex::encode(&outcome.immutable_digest)),
        ("Results", const_hex::encode(&outcome.results_digest)),
        ("Rules", super::rules::line(&super::rules::of_answer(&outcome.rules))),
        ("Dropped files", outcome.dropped_files.join(", ")),
        ("Repeated result", if outcome.repeated_answer { yes(true) } else { String::new() }),
    ]) + &super::notes(&outcome.warnings, &[])
        + &format!("Next: {}, then `stationmaster train post-run {}`\n", run_command(outcome), outcome.run_id)
}

fn mount_value(mount: &pb::Mount) -> Value {
    let (kind, source) = source(mount);
    json!({ "type": kind, "source": source, "target": mount.target, "read_only": mount.read_only })
}

/// Returns the mount's type and source in the terms of the engine's own client.
fn source(mount: &pb::Mount) -> (&'static str, &str) {
    match &mount.source {
        Some(pb::mount::Source::Volume(name)) => ("volume", name),
        Some(pb::mount::Source::Directory(path)) => ("bind", path),
        None => ("", ""),
    }
}

fn run_command(outcome: &pb::PreRunOutcome) -> String {
    if outcome.mounts.is_empty() {
        let image = &outcome.image;
        return format!(
            "run the image and commit its container under the same name (`docker run --name NAME --network none {image}`, `docker commit \
             NAME {image}`)"
        );
    }
    let options = outcome.mounts.iter().map(|mount| {
        let (kind, source) = source(mount);
        let no_copy = if kind == "volume" { ",volume-nocopy" } else { "" };
        let read_only = if mount.read_only { ",readonly" } else { "" };
        format!(" --mount type={kind},source={source},target={}{no_copy}{read_only}", mount.target)
    });
    format!("`docker run{} --network none {}`", options.collect::<String>(), outcome.image)
}
