//! `hash`: digests of an image.

use serde_json::{Value, json};

use super::{
    client::ClientArgs,
    error::CliError,
    output::{Output, fields, yes},
    progress::{Event, follow},
};
use crate::pb::{self, hash_image_response::Event as Message};

const AFTER: &str = "\
Answers the digest of the final file tree (docs/tree-digest.md tells how to compute it elsewhere), and for a train the digests
of its immutable files and of its results.

Examples:
  stationmaster hash harbor.example/train:latest
  stationmaster hash --train-only harbor.example/train:latest --output json";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// The image: repository:tag or sha256:…
    image: String,
    /// Leave out the tree's digest, and the reading of all layers
    #[arg(long)]
    train_only: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let request = args.client.request(pb::HashImageRequest { image: args.image.clone(), train_only: args.train_only });
    let stream = args.client.images().await?.hash_image(request).await?.into_inner();
    let result = follow(stream, |message| match message.event {
        Some(Message::Progress(progress)) => Event::Progress(progress),
        Some(Message::Result(result)) => Event::Done(result),
        None => Event::Nothing,
    })
    .await?;
    output.result(&value(&args.image, &result), || people(&result));
    Ok(())
}

fn value(image: &str, result: &pb::HashImageResult) -> Value {
    let train = result.train.as_ref().map(|train| {
        json!({
            "immutable_digest": const_hex::encode(&train.immutable_digest),
            "results_digest": const_hex::encode(&train.results_digest),
            "immutable_matches": train.immutable_matches,
            "sealed": train.sealed,
        })
    });
    json!({
        "image": image,
        "image_id": result.image_id,
        "tree_digest": const_hex::encode(&result.tree_digest),
        "tree_entries": result.tree_entries,
        "tree_bytes": result.tree_bytes,
        "train": train,
        "train_absent": result.train_absent,
    })
}

fn people(result: &pb::HashImageResult) -> String {
    let mut text = fields(&[("Image", result.image_id.clone())]);
    if !result.tree_digest.is_empty() {
        text += &fields(&[
            ("Tree", const_hex::encode(&result.tree_digest)),
            ("Entries", result.tree_entries.to_string()),
            ("Bytes", result.tree_bytes.to_string()),
        ]);
    }
    match &result.train {
        Some(train) => {
            text += &fields(&[
                ("Immutable files", const_hex::encode(&train.immutable_digest)),
                ("As in the config", yes(train.immutable_matches)),
                ("Results", const_hex::encode(&train.results_digest)),
                ("Sealed", yes(train.sealed)),
            ]);
        }
        None => text += &fields(&[("Train", format!("no digests ({})", result.train_absent))]),
    }
    text
}
