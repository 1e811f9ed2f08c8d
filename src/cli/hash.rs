//! `hash`: computes the digests of an image.

use serde_json::{Value, json};
use stationmaster_image::{ImageError, filesystem::tree_digest::digest_of};
use stationmaster_proto as pb;
use stationmaster_proto::hash_image_response::Event as Message;

use super::{
    client::{self, ClientArgs},
    error::CliError,
    image_input,
    output::{Output, fields, yes},
    progress::{Event, follow},
};
use crate::service::status::{Refusal, RpcError};

const AFTER: &str = "\
Returns the digest of the final file tree (docs/tree-digest.md specifies it), and
for a train the digests of its immutable files and of its results.

Examples:
  stationmaster hash harbor.example/train:latest
  stationmaster hash --train-only harbor.example/train:latest --output json
  stationmaster hash --place /srv/images/train:latest      # an OCI layout
  skopeo copy docker://harbor.example/train:latest oci-archive:train.tar \\
      && stationmaster hash --place train.tar";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// The image: repository:tag or sha256:…
    #[arg(required_unless_present = "place")]
    image: Option<String>,
    /// Hash the tree of an image in a file or directory, without a service: an archive of `docker save`, an OCI archive, an OCI layout
    /// directory (DIR or DIR:TAG), or `-`
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["image", "train_only"])]
    place: Option<String>,
    /// With --place: the image, if there are several: its name, or a digest (sha256:…)
    #[arg(long = "image", value_name = "NAME", requires = "place")]
    which: Option<String>,
    /// Omit the digest of the tree, which requires reading all layers
    #[arg(long)]
    train_only: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: Args, output: Output) -> Result<(), CliError> {
    let (image, result) = match args.place {
        Some(place) => {
            let result = offline(&place, args.which.as_deref())?;
            (place, result)
        }
        None => {
            let image = args.image.unwrap_or_default();
            let request = pb::HashImageRequest { image: image.clone(), train_only: args.train_only };
            (image, client::call(online(args.client, request))?)
        }
    };
    output.result(&value(&image, &result), || people(&result));
    Ok(())
}

/// Computes the digest of the tree without a service.
fn offline(place: &str, which: Option<&str>) -> Result<pb::HashImageResult, CliError> {
    let (tree, image) =
        digest_of(image_input::open(place)?.choose(which), None, |_| {}).map_err(|error| RpcError::from(Refusal::from(error)))?;
    let image_id =
        image.id().ok_or_else(|| RpcError::from(Refusal::from(ImageError::Malformed("no configuration of the image"))))?;
    Ok(pb::HashImageResult {
        image_id: image_id.to_string(),
        tree_digest: tree.digest.as_bytes().to_vec(),
        tree_entries: tree.entries,
        tree_bytes: tree.bytes,
        train: None,
        train_absent: "not-looked-for".to_owned(),
    })
}

async fn online(client: ClientArgs, request: pb::HashImageRequest) -> Result<pb::HashImageResult, CliError> {
    let request = client.request(request);
    let stream = client.images().await?.hash_image(request).await?.into_inner();
    follow(stream, |message| match message.event {
        Some(Message::Progress(progress)) => Event::Progress(progress),
        Some(Message::Result(result)) => Event::Done(result),
        None => Event::Nothing,
    })
    .await
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
