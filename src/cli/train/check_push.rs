//! `train check-push`: checks whether an image may be pushed.

use serde_json::{Value, json};
use stationmaster_proto as pb;
use stationmaster_proto::check_push_response::Event as Message;

use super::rules;
use crate::cli::{
    client::ClientArgs,
    error::{CliError, Exit},
    output::{Output, fields, printable, table},
    progress::{Event, follow},
};

const AFTER: &str = "\
Every layer is scanned, not only the file system that a container would see.
Sealed files are recognised by length and randomness, because no key is used:
plaintext that is compressed, or encrypted differently, can pass. Layers of the
train's base are not scanned. The exit code is 8 if the image may not be pushed.

Example:
  stationmaster train check-push harbor.example/train:latest \\
      && docker push harbor.example/train:latest";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The image to be pushed: repository:tag
    image: String,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) async fn run(args: Args, output: Output) -> Result<Exit, CliError> {
    let request = args.client.request(pb::CheckPushRequest { image: args.image.clone() });
    let stream = args.client.trains().await?.check_push(request).await?.into_inner();
    let result = follow(stream, |message| match message.event {
        Some(Message::Progress(progress)) => Event::Progress(progress),
        Some(Message::Result(result)) => Event::Done(result),
        None => Event::Nothing,
    })
    .await?;
    output.result(&value(&args.image, &result), || people(&result));
    Ok(if result.ok { Exit::Done } else { Exit::Broken })
}

fn value(image: &str, result: &pb::CheckPushResult) -> Value {
    let finding = |finding: &pb::PushFinding| {
        json!({
            "rule": finding.rule,
            "layer": finding.layer,
            "layer_digest": finding.layer_digest,
            "path": finding.path,
            "why": finding.why,
        })
    };
    json!({
        "image": image,
        "ok": result.ok,
        "image_id": result.image_id,
        "layers": result.layers,
        "base_layers": result.base_layers,
        "run_id": result.run_id,
        "rules": rules::value(&rules::of_answer(&result.rules)),
        "findings": result.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn people(result: &pb::CheckPushResult) -> String {
    let verdict = if result.ok { "may be pushed" } else { "may NOT be pushed" };
    let mut text = fields(&[
        ("Image id", result.image_id.clone()),
        ("Layers", format!("{}, of which {} are the base's", result.layers, result.base_layers)),
        ("Run", result.run_id.clone()),
    ]);
    text += "\n";
    text += &rules::people(&rules::of_answer(&result.rules));
    if !result.findings.is_empty() {
        let row = |finding: &pb::PushFinding| {
            vec![finding.layer.to_string(), printable(&finding.path), printable(&finding.rule), printable(&finding.why)]
        };
        text += "\n";
        text += &table(&["LAYER", "PATH", "RULE", "WHY"], result.findings.iter().map(row).collect());
    }
    text + "\n" + &fields(&[("Verdict", verdict.to_owned())])
}
