//! `trust remove creator|station|master`: removes entries from the trust file.

use super::{ApprovalArgs, TrustFileArgs, change::Entries};
use crate::{
    cli::{
        error::{CliError, Exit},
        output::Output,
    },
    trust::OwnerKind,
};

const EXAMPLES: &str = "\
Trains in transit with such a key are then refused, also at post-run: their runs
stay open, and no data is lost.

Examples:
  stationmaster trust remove creator 5d9e4f0c-6d0a-4b57-9d52-5f6f3a0c7f10
  stationmaster trust remove station clinic-east --fingerprint SHA256:…
  stationmaster trust remove master harbor.example/master/python";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) enum Command {
    /// Stop trusting a creator
    Creator(Key),
    /// Stop trusting a station, or one of its keys
    Station(Key),
    /// Stop allowing a master image
    Master(MasterArgs),
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Key {
    /// The id
    id: String,
    /// Only the key with this fingerprint; required if there are several
    #[arg(long, value_name = "SHA256:…")]
    fingerprint: Option<String>,
    /// All keys of this id
    #[arg(long, conflicts_with = "fingerprint")]
    all: bool,
    #[command(flatten)]
    approval: ApprovalArgs,
    #[command(flatten)]
    trust_file: TrustFileArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct MasterArgs {
    /// The reference, as `trust list` shows it
    reference: String,
    #[command(flatten)]
    approval: ApprovalArgs,
    #[command(flatten)]
    trust_file: TrustFileArgs,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    let subject = match &command {
        Command::Creator(args) => format!("creator {:?}", args.id),
        Command::Station(args) => format!("station {:?}", args.id),
        Command::Master(args) => format!("master {:?}", args.reference),
    };
    let absent = || {
        CliError::new(Exit::NotFound, format!("the trust file has no such {subject}")).with_hint("`trust list` shows all entries")
    };
    let (trust_file, approval) = match &command {
        Command::Creator(args) | Command::Station(args) => (&args.trust_file, &args.approval),
        Command::Master(args) => (&args.trust_file, &args.approval),
    };
    // Removing must not create a missing file.
    trust_file.read()?;
    let (path, (), entries) = trust_file.change("trust remove", approval, |store| {
        let mut entries = Entries::default();
        let (kind, args) = match &command {
            Command::Creator(args) => (OwnerKind::Creator, args),
            Command::Station(args) => (OwnerKind::Station, args),
            Command::Master(args) => {
                let master = store.masters().iter().find(|master| master.reference() == args.reference);
                entries.master(master.ok_or_else(absent)?);
                store.remove_master(&args.reference);
                return Ok(((), "removed", entries));
            }
        };
        let keys = store.keys_of(kind, &args.id).count();
        if keys > 1 && args.fingerprint.is_none() && !args.all {
            return Err(
                CliError::usage(format!("this id has {keys} keys")).with_hint("name one with --fingerprint, or use --all")
            );
        }
        let removed = store.remove(kind, &args.id, args.fingerprint.as_deref());
        if removed.is_empty() {
            return Err(absent());
        }
        removed.iter().for_each(|pin| entries.pin(kind, pin));
        Ok(((), "removed", entries))
    })?;
    output.result(&entries.value("removed", &path), || format!("Removed from {}\n{}", path.display(), entries.table()));
    Ok(())
}
