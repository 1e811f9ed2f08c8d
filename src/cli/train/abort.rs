//! `train abort`: aborts a run.

use serde_json::json;
use stationmaster_proto as pb;

use crate::cli::{
    client::ClientArgs,
    error::CliError,
    output::{Output, fields},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The run id that pre-run returned
    run_id: String,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let request = args.client.request(pb::AbortRunRequest { run_id: args.run_id.clone() });
    let answer = args.client.trains().await?.abort_run(request).await?.into_inner();
    let value = json!({ "run_id": answer.run_id, "image": answer.image, "plaintext_held_by": answer.plaintext_held_by });
    output.result(&value, || {
        fields(&[("Run", answer.run_id.clone()), ("Sealed image", answer.image.clone())])
            + &super::notes(&[], &answer.plaintext_held_by)
    });
    Ok(())
}
