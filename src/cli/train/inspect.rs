//! `train inspect`: shows the contents of a train.

use serde_json::{Value, json};
use stationmaster_proto as pb;

use super::input::saved_at;
use crate::{
    cli::{
        client,
        client::ClientArgs,
        error::CliError,
        output::{Output, fields, printable, table, yes},
    },
    protocol,
    service::{
        status::{Refusal, RpcError},
        trains::inspection,
    },
};

const AFTER: &str = "\
Nothing is verified and no key is used: the output is what the image states.
With --place no service and no engine is needed: an archive of `docker save`, an
OCI archive, or an OCI layout directory (DIR or DIR:TAG); layers may be
compressed.

Examples:
  stationmaster train inspect harbor.example/train:latest --output json \\
      | jq .route
  stationmaster train inspect --place train.tar";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train's image: repository:tag or sha256:…
    #[arg(required_unless_present = "place")]
    image: Option<String>,
    /// Inspect an image in a file or in an OCI layout directory, without a service
    #[arg(long, value_name = "FILE|DIR", conflicts_with = "image")]
    place: Option<String>,
    /// With --place: the image, if there are several: its name, or a digest (sha256:…)
    #[arg(long = "image", value_name = "NAME", requires = "place")]
    which: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn run(args: Args, output: Output) -> Result<(), CliError> {
    let (name, train) = match args.place {
        Some(place) => {
            let train = offline(&place, args.which.as_deref())?;
            (place, train)
        }
        None => {
            let image = args.image.unwrap_or_default();
            (image.clone(), client::call(online(args.client, image))?)
        }
    };
    output.result(&value(&name, &train), || people(&train));
    Ok(())
}

async fn online(client: ClientArgs, image: String) -> Result<pb::InspectTrainResponse, CliError> {
    let request = client.request(pb::InspectTrainRequest { image });
    Ok(client.trains().await?.inspect_train(request).await?.into_inner())
}

/// Inspects a train without a service, with the same errors.
fn offline(place: &str, which: Option<&str>) -> Result<pb::InspectTrainResponse, CliError> {
    let found =
        protocol::inspect_saved(saved_at(place, which, &std::env::temp_dir())?).map_err(Refusal::from).and_then(inspection);
    Ok(found.map_err(RpcError::from)?)
}

fn entry(file: &pb::FileEntry) -> Value {
    json!({ "path": file.path, "size": file.size })
}

fn value(image: &str, train: &pb::InspectTrainResponse) -> Value {
    let route = train.route.iter().map(|stop| {
        json!({
            "station": stop.station,
            "ecosystem": stop.ecosystem,
            "index": stop.index,
            "fingerprint": stop.fingerprint,
            "signed": stop.signed,
            "has_key": stop.has_key,
        })
    });
    json!({
        "image": image,
        "image_id": train.image_id,
        "train_id": train.train_id,
        "proposal_id": train.proposal_id,
        "session_id": const_hex::encode(&train.session_id),
        "creator_id": train.creator_id,
        "route": route.collect::<Vec<_>>(),
        "own_index": train.own_index,
        "listed": train.listed.iter().map(entry).collect::<Vec<_>>(),
        "unlisted": train.unlisted.iter().map(entry).collect::<Vec<_>>(),
        "missing": train.missing,
        "query": train.query.as_ref().map(entry),
        "result_files": train.result_files,
        "result_bytes": train.result_bytes,
        "base_image_id": train.base_image_id,
        "config": serde_json::from_slice::<Value>(&train.config_json).ok(),
    })
}

fn people(train: &pb::InspectTrainResponse) -> String {
    let names = |files: &[pb::FileEntry]| files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(", ");
    let base = if train.base_image_id.is_empty() { "not present" } else { &train.base_image_id };
    let own = train.own_index.map_or_else(|| "not on the route".to_owned(), |index| index.to_string());
    let text = fields(&[
        ("Image id", train.image_id.clone()),
        ("Train", train.train_id.clone()),
        ("Proposal", train.proposal_id.clone()),
        ("Session", const_hex::encode(&train.session_id)),
        ("Creator", train.creator_id.clone()),
        ("This station's stop", own),
        ("Base", base.to_owned()),
        ("Files", names(&train.listed)),
        ("Unlisted", names(&train.unlisted)),
        ("Missing", train.missing.join(", ")),
        ("Query", train.query.as_ref().map(|query| query.path.clone()).unwrap_or_default()),
        ("Results", format!("{} files, {} bytes", train.result_files, train.result_bytes)),
    ]);
    let rows = train.route.iter().map(|stop| {
        vec![
            stop.index.to_string(),
            printable(&stop.station),
            printable(&stop.ecosystem),
            yes(stop.signed),
            yes(stop.has_key),
            stop.fingerprint.clone(),
        ]
    });
    text + "\n" + &table(&["STOP", "STATION", "ECOSYSTEM", "SIGNED", "KEY", "FINGERPRINT"], rows.collect())
}
