//! `train results`: fetches the results of a train.

use std::path::PathBuf;

use serde_json::json;
use stationmaster_image::{ImageError, oci::reference::ImageSource};
use stationmaster_proto as pb;
use stationmaster_proto::{open_results_request::Part, open_results_response::Event};
use stationmaster_train::names::FilePath;

use super::{
    extract::{self, Delivery},
    input::opt_at,
    notes, rules,
    upload::{self, Trouble},
};
use crate::{
    cli::{
        client::ClientArgs,
        error::CliError,
        output::{Output, fields},
        progress::Bar,
    },
    service::status::{Refusal, RpcError},
};

const AFTER: &str = "\
The train is an image of the service's; or a file or directory, whose /opt is
sent to the service: an archive of `docker save`, an OCI archive, an OCI layout
directory (DIR or DIR:TAG), or a tar of /opt as an engine gives it (`-` is
standard input).

The service verifies the train as it does before a run, and gives nothing before
all of it has proved right. The station must be on the train's route, at
whatever stop the train is; who asks must be granted it for this train. Files
are written for their owner only, into a new or empty directory, and are there
when all of them have come.

A --path is a file, or a directory with all below it; `*` and `?` stand for
characters of a name, `**` for any directories.

Examples:
  stationmaster access allow unix:uid=$(id -u alice) --role reader \\
      --train TRAIN_ID
  stationmaster train results harbor.example/train:latest -o results
  stationmaster train results train.tar -o results
  stationmaster train results harbor.example/train:latest -o tables \\
      --path 'tables/*.csv' --output json | jq .files";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train: an image (repository:tag, an id), a file, `-`, or an OCI layout directory
    #[arg(value_name = "IMAGE|FILE")]
    image: String,
    /// Of a file or layout directory that holds several images: which, by a name that it has there, or a digest (sha256:…)
    #[arg(long = "image", value_name = "NAME")]
    which: Option<String>,
    #[command(flatten)]
    into: Wanted,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which results, and where they go.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Wanted {
    /// The directory that they are written into: a new one, or an empty one
    #[arg(short = 'o', long = "out", value_name = "DIR")]
    pub out: PathBuf,
    /// Only these results; can be given again
    #[arg(long = "path", value_name = "PATTERN")]
    pub paths: Vec<String>,
    /// Write into a directory that is not empty, and replace files of the same names
    #[arg(long)]
    pub force: bool,
}

pub(in crate::cli) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    // Before anything is asked for: plaintext without a place to go is not opened.
    let mut delivery = Delivery::into(&args.into.out, args.into.force)?;
    let paths = args.into.paths.clone();
    let mut service = args.client.trains().await?;
    let (stream, trouble) = match opt_at(&args.image, args.which.as_deref(), &args.into.out)? {
        Some(opt) => {
            let (pieces, trouble) = upload::pieces(opt, paths);
            (service.open_results(args.client.request(pieces)).await, trouble)
        }
        None => {
            let _: ImageSource = args.image.parse().map_err(|error: ImageError| {
                CliError::from(RpcError::from(Refusal::from(error))).with_hint("there is no such file either")
            })?;
            let request = pb::OpenResultsRequest { part: Some(Part::Image(args.image.clone())), paths };
            (service.open_results(args.client.request(tokio_stream::once(request))).await, Trouble::default())
        }
    };
    // What is wrong here comes before what the service makes of it.
    let ours = |error: CliError| trouble.take().unwrap_or(error);
    let mut stream = stream.map_err(CliError::from).map_err(ours)?.into_inner();
    let (bar, mut outcome) = (Bar::new(), None);
    while let Some(message) = stream.message().await.map_err(CliError::from).map_err(ours)? {
        match message.event {
            Some(Event::Progress(progress)) => bar.show(&progress),
            Some(Event::File(file)) => {
                // Whoever answers may not be the service that we know.
                let path = FilePath::new(&file.path)
                    .map_err(|error| CliError::other(format!("the service names a result that cannot be one: {error}")))?;
                delivery.begin(path, file.size)?;
            }
            Some(Event::Chunk(plain)) => delivery.piece(&zeroize::Zeroizing::new(plain))?,
            Some(Event::End(end)) => delivery.end(Some(&end.sha256))?,
            Some(Event::Outcome(done)) => outcome = Some(done),
            None => {}
        }
    }
    drop(bar);
    let outcome = outcome.ok_or_else(|| CliError::other("the service ended its answer without an outcome"))?;
    if outcome.files != delivery.count() {
        return Err(CliError::other("the service gave fewer files, or more, than it says"));
    }
    let files = delivery.finish()?;
    let rules = rules::of_answer(&outcome.rules);
    let value = json!({
        "image": args.image,
        "image_id": outcome.image_id,
        "directory": args.into.out,
        "train_id": outcome.train_id,
        "session_id": const_hex::encode(&outcome.session_id),
        "stop_index": outcome.stop_index,
        "stops_signed": outcome.stops_signed,
        "stops": outcome.stops,
        "results_digest": const_hex::encode(&outcome.results_digest),
        "result_files": outcome.result_files,
        "files": extract::value(&files),
        "bytes": outcome.bytes,
        "warnings": outcome.warnings,
        "rules": rules::value(&rules),
    });
    output.result(&value, || {
        fields(&[
            ("Train", outcome.train_id.clone()),
            ("Stops signed", format!("{} of {}", outcome.stops_signed, outcome.stops)),
            ("Results digest", const_hex::encode(&outcome.results_digest)),
            ("Directory", args.into.out.display().to_string()),
        ]) + "\n"
            + &extract::people(&files)
            + &notes(&outcome.warnings, &[])
    });
    Ok(())
}
