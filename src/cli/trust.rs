//! `trust add|list|remove|import|export|verify`: entries of the trust file, which a running service reads again when it changes.

mod add;
mod change;
mod import;
mod key;
mod list;
mod remove;
mod shared;
mod verify;

use std::path::PathBuf;

use serde_json::json;
use stationmaster_system::files::Readers;

use self::change::Entries;
use super::{
    admin_audit::{
        self,
        four_eyes::{self, FourEyesArgs, Proposal, WhyArgs},
    },
    error::{CliError, Exit},
    hints,
    out_file::Out,
    output::{Output, raw},
};
use crate::{
    audit::Event,
    config::{Config, GuardedAct},
    trust::{EntryError, FileError, TrustError, TrustStore, file},
};

const AFTER: &str = "\
A train states the keys with which it is verified, so a train alone proves
nothing about its creator. A station in the mode \"pinned\" (the default) opens a
train only if its creator and all stations on its route are in the trust file.
Compare a fingerprint with the key's owner over another channel than the one on
which the key arrived, for example by telephone.

Builders cannot be pinned: each build has a key of its own.

Examples:
  export STATIONMASTER_CONFIG=/etc/stationmaster/stationmaster.toml
  stationmaster trust add creator 5d9e4f0c-6d0a-4b57-9d52-5f6f3a0c7f10 \\
      --key creator.pem --comment \"fingerprint read by phone\"
  stationmaster trust add station clinic-east --key clinic-east.pem
  stationmaster train inspect harbor.example/train:latest --output json \\
      | jq .config > train_config.json
  # its creator and route, once you have compared the fingerprints:
  stationmaster trust import train_config.json
  # which of its keys are trusted:
  stationmaster trust verify train_config.json
  stationmaster trust list

A station that replaces its key has two entries until `trust remove station ID
--fingerprint …` removes the old one.";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Command {
    /// Trust a creator, a station or a master image
    #[command(subcommand)]
    Add(add::Command),
    /// List the trusted keys and allowed masters
    List(TrustFileArgs),
    /// Stop trusting a creator, a station or a master image
    #[command(subcommand)]
    Remove(remove::Command),
    /// Import the keys of a train_config.json, or the entries of another trust file
    Import(import::Args),
    /// Export the trust file without comments and dates
    Export(Export),
    /// Check the trust file, and which keys of a train it contains
    Verify(verify::Args),
}

/// Selects a trust file.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TrustFileArgs {
    /// The trust file
    #[arg(long, value_name = "FILE", help_heading = "Trust file")]
    file: Option<PathBuf>,
    /// The trust file that this configuration names
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG", help_heading = "Trust file")]
    config: Option<PathBuf>,
}

/// The reason and the approval of a change.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ApprovalArgs {
    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    four_eyes: FourEyesArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    out: Out,
    #[command(flatten)]
    trust_file: TrustFileArgs,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Add(command) => add::run(command, output),
        Command::List(args) => list::run(&args, output),
        Command::Remove(command) => remove::run(command, output),
        Command::Import(args) => import::run(&args, output),
        Command::Export(args) => export(&args, output),
        Command::Verify(args) => verify::run(&args, output),
    }
}

impl TrustFileArgs {
    /// Returns the station of the configuration.
    fn station(&self) -> Option<String> {
        Some(Config::load(self.config.as_ref()?).ok()?.station)
    }

    /// Returns the file's path.
    fn path(&self) -> Result<PathBuf, CliError> {
        Ok(self.path_and_station()?.0)
    }

    /// Returns the file's path, and the configuration whose trust file it is. `--file` takes precedence over a configuration of another file.
    fn path_and_station(&self) -> Result<(PathBuf, Option<Config>), CliError> {
        if let Some(file) = &self.file {
            let station = self.config.as_ref().and_then(|config| Config::load(config).ok());
            let is_its = |config: &Config| config.trust.file.as_ref().is_some_and(|own| four_eyes::is_same_file(own, file));
            return Ok((file.clone(), station.filter(is_its)));
        }
        let Some(config) = &self.config else {
            return Err(CliError::usage("no trust file is named: use --config FILE or --file FILE")
                .with_hint("STATIONMASTER_CONFIG names the service's configuration for all commands"));
        };
        let config = Config::load(config)?;
        let file = config.trust.file.clone().ok_or_else(|| CliError::usage("the configuration names no trust file"))?;
        Ok((file, Some(config)))
    }

    /// Changes the file after the change was recorded: `change` returns its outcome, and the recorded entries.
    fn change<T>(
        &self,
        command: &str,
        officers: &ApprovalArgs,
        change: impl FnOnce(&mut TrustStore) -> Result<(T, &'static str, Entries), CliError>,
    ) -> Result<(PathBuf, T, Entries), CliError> {
        let (path, station) = self.path_and_station()?;
        let audit = station.as_ref().map(Config::audit_directory);
        let (outcome, entries) = file::update(&path, |store| {
            let (outcome, what, entries) = change(store)?;
            let proposal = Proposal {
                act: GuardedAct::TrustChange,
                command,
                parameters: json!({ "file": path, what: entries.undated_json() }),
                reason: officers.why.reason.as_ref(),
            };
            let permit = four_eyes::permit(station.as_ref(), &proposal, &officers.four_eyes)?;
            let mut entry = admin_audit::entry(Event::TrustChanged, command).with(what, entries.json());
            if let Some(reason) = &officers.why.reason {
                entry = entry.with("reason", reason.as_str());
            }
            admin_audit::record_change(audit.as_deref(), entry, permit)?;
            Ok::<_, CliError>((outcome, entries))
        })?;
        Ok((path, outcome, entries))
    }

    /// Returns the file's path if the file exists and meets a condition.
    fn path_if(&self, condition: impl FnOnce(&TrustStore) -> bool) -> Result<Option<PathBuf>, CliError> {
        let path = self.path()?;
        match file::read(&path) {
            Ok(store) => Ok(condition(&store).then_some(path)),
            Err(TrustError::File(FileError::Missing(_))) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self) -> Result<(PathBuf, TrustStore), CliError> {
        let path = self.path()?;
        let store = file::read(&path)?;
        Ok((path, store))
    }
}

fn export(args: &Export, output: Output) -> Result<(), CliError> {
    let (path, store) = args.trust_file.read()?;
    let text = file::bundle(&store);
    if let Some(file) = args.out.begin(Readers::All)? {
        file.write(text.as_bytes())?;
    } else if !output.is_json() {
        return Ok(raw(text.as_bytes())?);
    }
    if output.is_json() {
        output.result(&json!({ "file": path, "bundle": text }), String::new);
    }
    Ok(())
}

impl From<TrustError> for CliError {
    fn from(error: TrustError) -> Self {
        let hint = match &error {
            TrustError::File(FileError::Write { file, source }) => hints::of_replaced(file, source),
            _ => None,
        };
        let hint = hint.unwrap_or_else(|| error.hint().to_owned());
        Self::new(Exit::of_io(error.kind()), error).with_hint(hint)
    }
}

impl From<EntryError> for CliError {
    fn from(error: EntryError) -> Self {
        match &error {
            EntryError::Duplicate => Self::new(Exit::State, error).with_hint("`trust list` shows the entry"),
            EntryError::SecondKey(_) => Self::new(Exit::State, error)
                .with_hint("confirm the new key with the creator; then `trust remove creator ID`, and add it"),
            _ => Self::usage(error).with_hint("`trust --help` shows examples"),
        }
    }
}
