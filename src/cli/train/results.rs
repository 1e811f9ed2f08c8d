//! `train results`: fetches the results of a train.

use std::path::PathBuf;

use serde_json::json;
use stationmaster_image::{ImageError, oci::reference::ImageSource};
use stationmaster_proto as pb;
use stationmaster_proto::{open_results_request::Part, open_results_response::Event};
use stationmaster_train::names::FilePath;

use super::{
    extract::{self, Extraction},
    input::opt_at,
    notes, rules,
    upload::{self, ReadFailure},
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
The train is an image in the service's engine; or a file or directory, whose /opt
is sent to the service: an archive of `docker save`, an OCI archive, an OCI
layout directory (DIR or DIR:TAG), or a tar of /opt as an engine exports it (`-`
is standard input).

The service verifies the train as before a run, and sends nothing before all
checks have passed. The station must be on the train's route, at any stop; the
caller needs a grant for this train. Files are written for their owner only, into
a new or empty directory, which contains them when all have arrived.

A --path is a file, or a directory with everything in it; `*` and `?` match
characters of a name, `**` any directories.

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
    /// The image in a file or layout directory with several images: its name, or a digest (sha256:…)
    #[arg(long = "image", value_name = "NAME")]
    which: Option<String>,
    #[command(flatten)]
    into: ResultsArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Selects results, and the directory for them.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct ResultsArgs {
    /// The directory for the results: a new or an empty one
    #[arg(short = 'o', long = "out", value_name = "DIR")]
    pub out: PathBuf,
    /// Only these results; can be given several times
    #[arg(long = "path", value_name = "PATTERN")]
    pub paths: Vec<String>,
    /// Write into a directory that is not empty, and replace files of the same names
    #[arg(long)]
    pub force: bool,
}

pub(in crate::cli) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    // Before the request, so that plaintext that cannot be written is not opened.
    let mut extraction = Extraction::create(&args.into.out, args.into.force)?;
    let paths = args.into.paths.clone();
    let mut service = args.client.trains().await?;
    let (stream, trouble) = match opt_at(&args.image, args.which.as_deref(), &args.into.out)? {
        Some(opt) => {
            let (pieces, trouble) = upload::pieces(opt, paths);
            (service.open_results(args.client.request(pieces)).await, trouble)
        }
        None => {
            let _: ImageSource = args.image.parse().map_err(|error: ImageError| {
                CliError::from(RpcError::from(Refusal::from(error))).with_hint("there is no such file")
            })?;
            let request = pb::OpenResultsRequest { part: Some(Part::Image(args.image.clone())), paths };
            (service.open_results(args.client.request(tokio_stream::once(request))).await, ReadFailure::default())
        }
    };
    // A local error takes precedence over the service's error that follows from it.
    let local_first = |error: CliError| trouble.take().unwrap_or(error);
    let mut stream = stream.map_err(CliError::from).map_err(local_first)?.into_inner();
    let (bar, mut outcome) = (Bar::new(), None);
    while let Some(message) = stream.message().await.map_err(CliError::from).map_err(local_first)? {
        match message.event {
            Some(Event::Progress(progress)) => bar.show(&progress),
            Some(Event::File(file)) => {
                // The peer is not trusted to send valid names.
                let path = FilePath::new(&file.path)
                    .map_err(|error| CliError::other(format!("the service sent an invalid name of a result: {error}")))?;
                extraction.begin(path, file.size)?;
            }
            Some(Event::Chunk(plain)) => extraction.write(&zeroize::Zeroizing::new(plain))?,
            Some(Event::End(end)) => extraction.end(Some(&end.sha256))?,
            Some(Event::Outcome(done)) => outcome = Some(done),
            None => {}
        }
    }
    drop(bar);
    let outcome = outcome.ok_or_else(|| CliError::other("the service ended its response without an outcome"))?;
    if outcome.files != extraction.count() {
        return Err(CliError::other("the service sent another number of files than it states"));
    }
    let files = extraction.finish()?;
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
