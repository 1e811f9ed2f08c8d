//! `image validate`: validates an image against its master.

use serde_json::{Value, json};
use stationmaster_proto as pb;
use stationmaster_proto::validate_image_response::Event as Message;

use crate::{
    cli::{
        client,
        client::ClientArgs,
        error::{CliError, Exit},
        image_input,
        output::{Output, fields, printable, table},
        progress::{Event, follow},
        train::rules,
    },
    protocol,
    service::{
        images::verdict_message,
        status::{Refusal, RpcError},
    },
};

const AFTER: &str = "\
The master must be allowed by the station's trust file (`trust add master`); the
train cannot choose it. Shared layers are compared by digest; the changes of
further layers are compared in type, content, link target, mode, owner and
attributes. A train may add /opt/pht_train, /opt/pht_results,
/opt/train_config.json and /opt/user_sym_key.key. The configuration must be the
master's; a train may have its own labels, and its own command without a shell.
The exit code is 8 if a rule is broken.

With --place no service and no engine is needed: an archive of `docker save` or
an OCI archive, an OCI layout directory (DIR or DIR:TAG), or `-` for an archive
from standard input; --master-place names the master.

Examples:
  stationmaster image validate harbor.example/train:latest
  stationmaster image validate harbor.example/train:latest \\
      --master harbor.example/master/python --as-train-lib
  stationmaster image validate --place train.tar \\
      --master-place /srv/masters/python:1.0";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The image: repository:tag or sha256:…
    #[arg(required_unless_present = "place")]
    image: Option<String>,
    /// The master, as in the trust file; without it the one that shares most layers with the image
    #[arg(long, value_name = "REPOSITORY[@DIGEST]", conflicts_with = "place")]
    master: Option<String>,
    /// Also report the result of train_lib's validate_train_image
    #[arg(long, conflicts_with = "place")]
    as_train_lib: bool,
    /// Validate an image in a file or directory, without a service
    #[arg(long, value_name = "PLACE", conflicts_with = "image", requires = "master_place")]
    place: Option<String>,
    /// With --place: the image, if there are several: its name, or a digest (sha256:…)
    #[arg(long = "image", value_name = "NAME", requires = "place")]
    which: Option<String>,
    /// With --place: the master
    #[arg(long, value_name = "PLACE", requires = "place")]
    master_place: Option<String>,
    /// With --master-place: the image, if there are several
    #[arg(long, value_name = "NAME", requires = "master_place")]
    master_image: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: Args, output: Output) -> Result<Exit, CliError> {
    let (image, result) = match (args.place, args.master_place) {
        (Some(place), Some(master)) => {
            let result = offline((&place, args.which.as_deref()), (&master, args.master_image.as_deref()))?;
            (place, result)
        }
        _ => {
            let image = args.image.unwrap_or_default();
            let request = pb::ValidateImageRequest {
                image: image.clone(),
                master: args.master.unwrap_or_default(),
                as_train_lib: args.as_train_lib,
            };
            (image, client::call(online(args.client, request))?)
        }
    };
    output.result(&value(&image, &result), || people(&result));
    Ok(if result.holds { Exit::Done } else { Exit::Broken })
}

async fn online(client: ClientArgs, request: pb::ValidateImageRequest) -> Result<pb::ValidateImageResult, CliError> {
    let request = client.request(request);
    let stream = client.images().await?.validate_image(request).await?.into_inner();
    follow(stream, |message| match message.event {
        Some(Message::Progress(progress)) => Event::Progress(progress),
        Some(Message::Result(result)) => Event::Done(result),
        None => Event::Nothing,
    })
    .await
}

/// Performs the same check without a service, with the same errors.
fn offline(
    (place, image): (&str, Option<&str>),
    (master, of_master): (&str, Option<&str>),
) -> Result<pb::ValidateImageResult, CliError> {
    let verdict =
        protocol::validate_places(image_input::open(place)?.choose(image), image_input::open(master)?.choose(of_master), master);
    let verdict = verdict.map_err(|(side, error)| {
        let error = CliError::from(RpcError::from(Refusal::from(error)));
        match side {
            protocol::Operand::Image => error,
            protocol::Operand::Master => CliError { message: format!("the master: {}", error.message), ..error },
        }
    });
    Ok(verdict_message(verdict?))
}

fn value(image: &str, result: &pb::ValidateImageResult) -> Value {
    let difference = |one: &pb::ImageDifference| json!({ "rule": one.rule, "what": one.what, "place": one.place, "expected": one.expected, "found": one.found });
    json!({
        "image": image,
        "holds": result.holds,
        "image_id": result.image_id,
        "master": result.master,
        "master_id": result.master_id,
        "layers": result.layers,
        "shared_layers": result.shared_layers,
        "master_layers": result.master_layers,
        "rules": rules::value(&rules::of_answer(&result.rules)),
        "differences": result.differences.iter().map(difference).collect::<Vec<_>>(),
        "difference_count": result.difference_count,
        "train_lib": (!result.train_lib.is_empty()).then_some(&result.train_lib),
    })
}

fn people(result: &pb::ValidateImageResult) -> String {
    let rows = rules::of_answer(&result.rules);
    let verdict = match rules::broken(&rows) {
        broken if broken.is_empty() => "valid: the master plus a train".to_owned(),
        broken => format!("NOT valid: {}", broken.join(", ")),
    };
    let mut text = fields(&[
        ("Image id", printable(&result.image_id)),
        ("Master", printable(&result.master)),
        ("Master id", printable(&result.master_id)),
        ("Layers", format!("{}, of which {} of the master's {}", result.layers, result.shared_layers, result.master_layers)),
    ]);
    text += "\n";
    text += &rules::people(&rows);
    if !result.differences.is_empty() {
        let row =
            |one: &pb::ImageDifference| [&one.what, &one.place, &one.expected, &one.found].map(|cell| printable(cell)).to_vec();
        text += "\n";
        text += &table(&["WHAT", "WHERE", "EXPECTED", "FOUND"], result.differences.iter().map(row).collect());
        let more = result.difference_count - result.differences.len() as u64;
        if more > 0 {
            text += &format!("and {more} more\n");
        }
    }
    text + "\n" + &fields(&[("train_lib", printable(&result.train_lib)), ("Verdict", verdict)])
}
