//! `ceremony verify`: checks a transcript and its page with the public key alone.

use std::path::PathBuf;

use serde_json::json;
use stationmaster_system::files::input;
use stationmaster_train::keys::spki_fingerprint;

use super::transcript::{Signed, Transcript, digest, message};
use crate::cli::{
    admin_audit::four_eyes,
    error::{CliError, Exit},
    key_file,
    output::{Output, fields, printable},
};

/// Maximum size of a transcript or page, in bytes.
const LIMIT: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The transcript
    file: PathBuf,
    /// The public key of its signer: PEM, DER, hex of either, JWK
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// The page [default: beside the transcript, with the extension html]
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let spki = key_file::checkpoint_key(&args.key)?;
    let page_file = args.page.clone().unwrap_or_else(|| args.file.with_extension("html"));
    let read = |path: &PathBuf| input::read(path, LIMIT).map_err(|error| CliError::file("read", path, &error));
    let (file, page) = (read(&args.file)?, read(&page_file)?);
    let broken = |path: &PathBuf, why: &str| CliError::new(Exit::Broken, format!("{}: {why}", path.display()));
    let signed: Signed = serde_json::from_slice(&file).map_err(|_| broken(&args.file, "it is no transcript, or was edited"))?;
    if signed.bytes()? != file {
        return Err(broken(&args.file, "it was edited: it is not written as this program writes it"));
    }
    if signed.key != spki_fingerprint(&spki) {
        return Err(broken(&args.file, "it names another key than the one that was given").with_hint(format!(
            "it names {}; get the public key from the station, not with the transcript",
            printable(&signed.key)
        )));
    }
    if !four_eyes::verifies(&spki, message(&signed.text).as_bytes(), &signed.signature) {
        return Err(broken(&args.file, "its signature is invalid: it was edited, or another key signed it"));
    }
    let transcript: Transcript =
        serde_json::from_str(&signed.text).map_err(|_| broken(&args.file, "it is of another version of this program"))?;
    if transcript.page_sha256 != digest(&page) {
        return Err(broken(&page_file, "it is not the page of this transcript, or was edited"));
    }
    let open = &transcript.ceremony;
    let value = json!({
        "ceremony": open.id, "title": open.title, "participants": open.participants, "started": open.started,
        "finished": transcript.finished, "fingerprint": signed.key, "records": transcript.records,
    });
    output.result(&value, || {
        format!(
            "Valid\n{}",
            fields(&[
                ("Ceremony", open.id.clone()),
                ("Title", printable(&open.title)),
                ("Participants", printable(&open.participants.join(", "))),
                ("Started", open.started.clone()),
                ("Finished", transcript.finished.clone()),
                ("Records", transcript.records.len().to_string()),
                ("Signed by", signed.key.clone()),
            ])
        )
    });
    Ok(())
}
