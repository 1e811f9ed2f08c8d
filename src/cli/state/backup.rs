//! `state backup`: backs up a state directory.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    audit::Event,
    cli::{
        admin_audit,
        error::CliError,
        output::{Output, fields},
        state_dir::StateDirArgs,
    },
    state,
};

const AFTER: &str = "\
The directory is there whole or not at all. In it:
  ledger.sqlite    every run and its state, as of one moment, however busy the
                   service is
  instance         the id that the service's containers and volumes in the
                   engine carry
  first-seen.toml  keys that a `first-use` station has seen (where there are
                   any)
  backup.toml      when it was made, and the digest of each file
Not in it, and why:
  audit            is appended to and never changed: an older log put back is a
                   cut
                   one. Copy it on its own: `audit export`, or its files
  pin-latch        is about PINs that a token refused, and holds hashes of wrong
                   ones, which are often close to the right one
  lock, sockets    are a process's
  spools           are ciphertext without a name, of steps under way
  opened trains    are plaintext
  a development station's token, PIN and certificates: a token has its own ways
    of backup
Nothing in it is secret, but who may change it decides which trains a restored
station opens: keep it as you keep the station.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The backup: a directory that is not there yet
    #[arg(value_name = "DIR")]
    target: PathBuf,
    #[command(flatten)]
    place: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (office, ledger) = args.place.ledger()?;
    let target = args.target.display().to_string();
    let entry = admin_audit::entry(Event::StateBackedUp, "state backup").with("target", target);
    let manifest =
        office.carry_out(entry, || state::backup(&office.directory, &ledger, office.station.as_deref(), &args.target))?;
    let names: Vec<&str> = manifest.file.iter().map(|file| file.name.as_str()).collect();
    let value = json!({ "backup": args.target, "made": manifest.made, "runs": manifest.runs, "files": names });
    output.result(&value, || {
        fields(&[
            ("Backup", args.target.display().to_string()),
            ("Made", manifest.made.clone()),
            ("Runs", manifest.runs.to_string()),
            ("Files", names.join(", ")),
        ])
    });
    Ok(())
}
