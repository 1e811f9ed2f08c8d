//! `trust import`: adds keys from a train or another trust file, once a person has compared the fingerprints.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use serde_json::json;
use stationmaster_system::files::input;
use stationmaster_train::{
    config::{HexText, TrainConfig},
    keys::PublicKey,
};

use super::{ApprovalArgs, TrustFileArgs, change::Entries, shared};
use crate::{
    cli::{
        error::{CliError, Exit},
        output::Output,
    },
    trust::{EntryError, FileError, KeyVerdict, OwnerKind, Pin, TrustStore, file},
};

/// Maximum size of a file, in bytes: that of a trust file, which exceeds that of a train's config.
pub(super) const MAX_SIZE: u64 = 16 << 20;

const AFTER: &str = "\
Imports the creator and all stations on the route of a train_config.json, or all
entries of another trust file (`trust export`). Entries that exist are skipped.
If a creator has another key already, nothing is imported.

Anyone can create a train. Import its keys only after you have compared every
fingerprint with its owner.

Examples:
  stationmaster trust import train_config.json
  stationmaster trust import bundle.toml --yes";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// A train_config.json, or a trust file
    from: PathBuf,
    /// Do not ask for confirmation: every fingerprint has been compared
    #[arg(long)]
    yes: bool,
    /// A comment for every key of a train
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    approval: ApprovalArgs,
    #[command(flatten)]
    trust_file: TrustFileArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let offered = offered(&args.from, args.comment.as_deref())?;
    let path = args.trust_file.path()?;
    let before = match file::read(&path) {
        Err(crate::trust::TrustError::File(FileError::Missing(_))) => TrustStore::default(),
        other => other?,
    };
    let (new, after) = merged(&before, &offered)?;
    if new.is_empty() {
        output.result(&json!({ "file": path, "added": [] }), || "All keys are already trusted.".to_owned());
        return Ok(());
    }
    if !args.yes {
        confirm(&new, &shared::warnings_of(&after, &new.fingerprints()), output)?;
    }
    let warnings = shared::warnings_of(&after, &new.fingerprints());
    let (path, (), new) = args.trust_file.change("trust import", &args.approval, |store| {
        if *store != before {
            return Err(
                CliError::new(Exit::State, "the trust file was changed during the import").with_hint("repeat the command")
            );
        }
        *store = after;
        Ok(((), "added", new))
    })?;
    output.result(&new.value_with_warnings("added", &path, &warnings), || {
        format!("Trusted, in {}\n{}{}", path.display(), new.table(), shared::lines(&warnings))
    });
    Ok(())
}

/// Reads the entries of a file.
fn offered(from: &Path, comment: Option<&str>) -> Result<TrustStore, CliError> {
    let bytes = input::read(from, MAX_SIZE).map_err(|error| CliError::file("read", from, &error))?;
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(file::parse(&bytes, from)?);
    }
    let mut store = TrustStore::default();
    for (kind, id, key) in stated(&bytes)? {
        let pin = Pin::new(&id, key, comment.map(str::to_owned))?;
        match store.add(kind, pin) {
            // A station can be on a route twice.
            Ok(()) | Err(EntryError::Duplicate) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(store)
}

/// Returns the keys that a train's config states: the creator's first, then those of the route in order.
pub(super) fn stated(config: &[u8]) -> Result<Vec<(OwnerKind, String, PublicKey)>, CliError> {
    let config = TrainConfig::parse(config).map_err(CliError::usage)?;
    let key = |text: &HexText| PublicKey::from_hex_pem(text).map_err(CliError::usage);
    let mut stops: Vec<_> = config.route.iter().collect();
    stops.sort_by_key(|stop| stop.index);
    let mut stated = vec![(OwnerKind::Creator, config.creator.id.to_string(), key(&config.creator.rsa_public_key)?)];
    for stop in stops {
        stated.push((OwnerKind::Station, stop.station.to_string(), key(&stop.rsa_public_key)?));
    }
    Ok(stated)
}

/// Returns the new entries, and the merged store.
fn merged(before: &TrustStore, offered: &TrustStore) -> Result<(Entries, TrustStore), CliError> {
    let (mut after, mut new) = (before.clone(), Entries::default());
    for kind in [OwnerKind::Creator, OwnerKind::Station] {
        for pin in offered.pins(kind) {
            if before.check_key(kind, &pin.id, &pin.key) != KeyVerdict::Trusted {
                after.add(kind, pin.clone())?;
                new.pin(kind, pin);
            }
        }
    }
    for master in offered.masters() {
        if after.add_master(master.clone()).is_ok() {
            new.master(master);
        }
    }
    Ok((new, after))
}

fn confirm(new: &Entries, warnings: &[String], output: Output) -> Result<(), CliError> {
    let refused = CliError::usage("these keys have not been confirmed");
    if output.is_json() || !io::stdin().is_terminal() {
        return Err(refused.with_hint("compare every fingerprint with its owner, then use --yes"));
    }
    let mut err = io::stderr();
    let _ =
        write!(err, "{}{}\nHave you compared every fingerprint with its owner? Type yes: ", new.table(), shared::lines(warnings));
    let _ = err.flush();
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err(refused.with_hint("nothing was changed")),
    }
}
