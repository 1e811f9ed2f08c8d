//! `access allow|revoke|list|check`: grants in the access file, which a running service reads again when it changes.

mod change;
mod check;

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::{Value, json};

use super::{
    error::{CliError, Exit},
    hints,
    output::{Output, printable, table},
};
use crate::{
    authz::{AccessError, Grant, GrantError, Grants, PrincipalError, Role, Rpc, file},
    config::Config,
    watched_file::FileError,
};

const AFTER: &str = "\
What is not granted is refused. A principal is what a connection proves:
  unix:uid=1000                       a user, through the Unix socket
  unix:gid=990                        that user's (effective) group
  spiffe://hospital.example/airflow   a URI in the client certificate
  dns:airflow.hospital.example        a DNS name in it

Roles are sets of RPCs, written out when they are granted:
  station   opens and closes trains
  signer    Sign and UnwrapKey with general keys
  reader    reads results of the trains that are named with --train
  auditor   looks, and uses no key
  officer   everything

Examples:
  export STATIONMASTER_CONFIG=/etc/stationmaster/stationmaster.toml
  stationmaster access allow unix:uid=$(id -u airflow) --role station
  stationmaster access allow dns:ci.hospital.example --role signer --key reports
  stationmaster access list
  stationmaster access check unix:uid=1000 Sign reports
  stationmaster access revoke dns:ci.hospital.example";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Command {
    /// Grant a principal RPCs
    Allow(change::Allow),
    /// Take RPCs, or everything, away from a principal
    Revoke(change::Revoke),
    /// List what is granted
    List(AccessFileArgs),
    /// Explain what would be decided of a call
    Check(check::Args),
}

/// Which access file.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AccessFileArgs {
    /// The access file
    #[arg(long, value_name = "FILE", help_heading = "Access file")]
    file: Option<PathBuf>,
    /// The access file that this configuration names; changes are recorded in its audit
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG", help_heading = "Access file")]
    config: Option<PathBuf>,
}

impl AccessFileArgs {
    /// The file's path, and the directory of the audit that its changes belong to. `--file` takes precedence over a configuration.
    fn path(&self) -> Result<(PathBuf, Option<PathBuf>), CliError> {
        if let Some(file) = &self.file {
            return Ok((file.clone(), None));
        }
        let Some(config) = &self.config else {
            return Err(CliError::usage("no access file is named: give --config FILE or --file FILE")
                .with_hint("STATIONMASTER_CONFIG names the service's configuration for all commands"));
        };
        let config = Config::load(config)?;
        Ok((config.access_file(), Some(config.audit_directory())))
    }

    fn read(&self) -> Result<(PathBuf, Grants), CliError> {
        let (path, _) = self.path()?;
        let grants = file::read(&path)?;
        Ok((path, grants))
    }
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Allow(args) => change::allow(&args, output),
        Command::Revoke(args) => change::revoke(&args, output),
        Command::List(place) => {
            let (path, grants) = place.read()?;
            let value = json!({ "file": path, "grants": grants.all().iter().map(json_of).collect::<Vec<_>>() });
            output.result(&value, || match grants.all() {
                [] => "No principal may call anything yet: `access allow` grants it.\n".to_owned(),
                all => table_of(all),
            });
            Ok(())
        }
        Command::Check(args) => check::run(&args, output),
    }
}

fn json_of(grant: &Grant) -> Value {
    json!({
        "principal": grant.principal().to_string(),
        "rpcs": grant.rpcs().map(Rpc::name).collect::<Vec<_>>(),
        "keys": grant.keys(),
        "purposes": grant.purposes(),
        "trains": grant.trains(),
        "comment": grant.comment(),
    })
}

fn table_of(grants: &[Grant]) -> String {
    let row = |grant: &Grant| {
        let list = |names: Option<Vec<String>>| names.map_or_else(|| "-".to_owned(), |names| printable(&names.join(", ")));
        vec![
            printable(&grant.principal().to_string()),
            may(grant),
            list(grant.keys()),
            list(grant.purposes()),
            list(grant.trains()),
            printable(grant.comment().unwrap_or("-")),
        ]
    };
    table(&["PRINCIPAL", "MAY CALL", "KEYS", "PURPOSES", "TRAINS", "COMMENT"], grants.iter().map(row).collect())
}

/// What a grant allows: the role whose RPCs it has, or their names where it has those of no role.
fn may(grant: &Grant) -> String {
    let granted: BTreeSet<&str> = grant.rpcs().map(Rpc::name).collect();
    let role = Role::ALL.into_iter().find(|role| role.rpcs().map(Rpc::name).collect::<BTreeSet<_>>() == granted);
    role.map_or_else(|| granted.into_iter().collect::<Vec<_>>().join(", "), |role| format!("role {}", role.name()))
}

impl From<AccessError> for CliError {
    fn from(error: AccessError) -> Self {
        let hint = match &error {
            AccessError::File(FileError::Write { file, source }) => hints::of_replaced(file, source),
            _ => None,
        };
        let hint = hint.unwrap_or_else(|| error.hint().to_owned());
        Self::new(Exit::of_io(error.kind()), error).with_hint(hint)
    }
}

impl From<GrantError> for CliError {
    fn from(error: GrantError) -> Self {
        Self::usage(error).with_hint("`access --help` shows examples")
    }
}

impl From<PrincipalError> for CliError {
    fn from(error: PrincipalError) -> Self {
        Self::usage(error)
            .with_hint("`id -u NAME` tells a user's number; `openssl x509 -noout -ext subjectAltName` a certificate's names")
    }
}
