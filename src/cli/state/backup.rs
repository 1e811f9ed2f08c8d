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
The backup is created completely or not at all. It contains:
  ledger.sqlite    all runs and their states, as of one moment, even while the
                   service is busy
  instance         the id on the service's containers and volumes in the engine
  first-seen.toml  keys that a `first-use` station has pinned (if there are any)
  key-states.toml  states of train keys (if there are any)
  backup.toml      the time of the backup, and the digest of each file
It does not contain:
  audit            logs are only appended to: restoring an older log would
                   truncate it. Copy it with `audit export`, or copy its files
  pin-latch        hashes of PINs that the token refused, which are often
                   similar to the correct one
  lock, sockets    they belong to a process
  spools           unnamed ciphertext of running steps
  opened trains    plaintext
  a development station's token, PIN and certificates: a token has its own
                   methods of backup
Nothing in it is secret, but its contents decide which trains a restored station
opens: protect it like the station itself.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The backup: a directory that does not exist yet
    #[arg(value_name = "DIR")]
    target: PathBuf,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (state_dir, ledger) = args.state_dir.ledger()?;
    let target = args.target.display().to_string();
    let entry = admin_audit::entry(Event::StateBackedUp, "state backup").with("target", target);
    let manifest = state_dir
        .carry_out(entry, || state::backup(&state_dir.directory, &ledger, state_dir.station.as_deref(), &args.target))?;
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
