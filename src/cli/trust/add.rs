//! `trust add creator|station|master`: adds an entry to the trust file.

use std::path::Path;

use serde_json::json;

use super::{ApprovalArgs, TrustFileArgs, change::Entries, key, shared};
use crate::{
    cli::{error::CliError, output::Output},
    trust::{EntryError, Master, OwnerKind, Pin, TrustStore},
};

const EXAMPLES: &str = "\
The file is created if it does not exist. The fingerprint is the one that `key
show` and `train inspect` print.

Examples:
  stationmaster trust add creator 5d9e4f0c-6d0a-4b57-9d52-5f6f3a0c7f10 \\
      --key creator.pem
  stationmaster trust add station clinic-east --key clinic-east.pem \\
      --comment \"new key from 1 December\"
  stationmaster trust add master harbor.example/master/python";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) enum Command {
    /// Trust a creator of trains; a creator has one key
    Creator(Key),
    /// Trust a station; it may have several keys while it replaces one
    Station(Key),
    /// Allow a master image: a repository, or repository@sha256:…
    Master(MasterArgs),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Key {
    /// The id, as trains state it
    id: String,
    /// The public key: a file (PEM, DER, hex of either, JWK), or the hex itself
    #[arg(long, value_name = "FILE|HEX")]
    key: String,
    /// A comment
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    approval: ApprovalArgs,
    #[command(flatten)]
    trust_file: TrustFileArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct MasterArgs {
    /// repository, or repository@sha256:…
    reference: String,
    /// A comment
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    approval: ApprovalArgs,
    #[command(flatten)]
    trust_file: TrustFileArgs,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    let (kind, args) = match command {
        Command::Master(args) => return master(args, output),
        Command::Creator(args) => (OwnerKind::Creator, args),
        Command::Station(args) => (OwnerKind::Station, args),
    };
    let pin = Pin::new(&args.id, key::read(&args.key)?, args.comment.clone())?;
    let mut entries = Entries::default();
    entries.pin(kind, &pin);
    let is_present = |store: &TrustStore| store.clone().add(kind, pin.clone()) == Err(EntryError::Duplicate);
    if let Some(path) = args.trust_file.path_if(is_present)? {
        return report_present(&entries, &path, output);
    }
    let (path, (keys, warnings), entries) = args.trust_file.change("trust add", &args.approval, |store| {
        store.add(kind, pin.clone())?;
        let warnings = shared::warnings_of(store, &[pin.key.fingerprint()]);
        Ok(((store.keys_of(kind, &pin.id).count(), warnings), "added", entries))
    })?;
    output.result(&entries.value_with_warnings("added", &path, &warnings), || {
        let several = if keys > 1 {
            format!("note: this station now has {keys} keys; remove the old one when no train in transit names it any more\n")
        } else {
            String::new()
        };
        format!(
            "Trusted, in {}\n{}{several}{}Compare the fingerprint with the key's owner.\n",
            path.display(),
            entries.table(),
            shared::lines(&warnings)
        )
    });
    Ok(())
}

fn master(args: MasterArgs, output: Output) -> Result<(), CliError> {
    let master = Master::parse(&args.reference, args.comment.clone()).map_err(EntryError::from)?;
    let mut entries = Entries::default();
    entries.master(&master);
    let is_present = |store: &TrustStore| store.clone().add_master(master.clone()) == Err(EntryError::Duplicate);
    if let Some(path) = args.trust_file.path_if(is_present)? {
        return report_present(&entries, &path, output);
    }
    let (path, (), entries) = args.trust_file.change("trust add", &args.approval, |store| {
        store.add_master(master.clone())?;
        Ok(((), "added", entries))
    })?;
    output.result(&entries.value("added", &path), || format!("Allowed, in {}\n{}", path.display(), entries.table()));
    Ok(())
}

/// Reports an entry that exists already: nothing is changed, and the command succeeds.
fn report_present(entries: &Entries, path: &Path, output: Output) -> Result<(), CliError> {
    let value = json!({ "file": path, "added": [], "present": entries.json() });
    output.result(&value, || format!("Already in {}: nothing was changed\n{}", path.display(), entries.table()));
    Ok(())
}
