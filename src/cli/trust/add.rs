//! `trust add creator|station|master`: adds an entry to the trust file.

use std::path::Path;

use serde_json::json;

use super::{TrustFileArgs, change::Entries, key, shared};
use crate::{
    cli::{error::CliError, output::Output},
    trust::{EntryError, Kind, Master, Pin, TrustStore},
};

const EXAMPLES: &str = "\
The file is made when there is none. The fingerprint is the same that `key show`
and `train inspect` print.

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
    /// Trust a station; it may have several keys while it changes from one to the next
    Station(Key),
    /// Allow a master image: a repository, or repository@sha256:…
    Master(MasterArgs),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Key {
    /// The id, as trains name it
    id: String,
    /// The public key: a file (PEM, DER, hex of either, JWK), or the hex itself
    #[arg(long, value_name = "FILE|HEX")]
    key: String,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    place: TrustFileArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct MasterArgs {
    /// repository, or repository@sha256:…
    reference: String,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    place: TrustFileArgs,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    let (kind, args) = match command {
        Command::Master(args) => return master(args, output),
        Command::Creator(args) => (Kind::Creator, args),
        Command::Station(args) => (Kind::Station, args),
    };
    let pin = Pin::new(&args.id, key::read(&args.key)?, args.comment)?;
    let mut entries = Entries::default();
    entries.pin(kind, &pin);
    let is_there = |store: &TrustStore| store.clone().add(kind, pin.clone()) == Err(EntryError::Duplicate);
    if let Some(path) = args.place.holds(is_there)? {
        return there_already(&entries, &path, output);
    }
    let (path, (keys, warnings), entries) = args.place.change("trust add", |store| {
        store.add(kind, pin.clone())?;
        let warnings = shared::warnings_of(store, &[pin.key.fingerprint()]);
        Ok(((store.keys_of(kind, &pin.id).count(), warnings), "added", entries))
    })?;
    output.result(&entries.value_and("added", &path, &warnings), || {
        let several = if keys > 1 {
            format!("note: this station has {keys} keys now; remove the old one when no train under way names it any more\n")
        } else {
            String::new()
        };
        format!(
            "Trusted from now on, in {}\n{}{several}{}Compare the fingerprint with the key's owner.\n",
            path.display(),
            entries.table(),
            shared::told(&warnings)
        )
    });
    Ok(())
}

fn master(args: MasterArgs, output: Output) -> Result<(), CliError> {
    let master = Master::parse(&args.reference, args.comment).map_err(EntryError::from)?;
    let mut entries = Entries::default();
    entries.master(&master);
    let is_there = |store: &TrustStore| store.clone().add_master(master.clone()) == Err(EntryError::Duplicate);
    if let Some(path) = args.place.holds(is_there)? {
        return there_already(&entries, &path, output);
    }
    let (path, (), entries) = args.place.change("trust add", |store| {
        store.add_master(master.clone())?;
        Ok(((), "added", entries))
    })?;
    output.result(&entries.value("added", &path), || format!("Allowed from now on, in {}\n{}", path.display(), entries.table()));
    Ok(())
}

/// The same again changes nothing, and is no failure: whoever repeats the command wants the entry to be there.
fn there_already(entries: &Entries, path: &Path, output: Output) -> Result<(), CliError> {
    let value = json!({ "file": path, "added": [], "present": entries.json() });
    output.result(&value, || format!("Already in {}: nothing was changed\n{}", path.display(), entries.table()));
    Ok(())
}
