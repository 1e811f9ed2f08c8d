//! `access allow|revoke|list|check`: grants in the access file, which a running service reads again when it changes.

mod change;
mod check;

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::{Value, json};

use super::{
    admin_audit::four_eyes,
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
Access is denied by default. A principal is an identity that a connection
proves:
  unix:uid=1000                       a user, through the Unix socket
  unix:gid=990                        that user's (effective) group
  spiffe://hospital.example/airflow   a URI in the client certificate
  dns:airflow.hospital.example        a DNS name in it

Roles are sets of RPCs; the access file contains the RPCs, not the role:
  station   opens and closes trains
  signer    Sign and UnwrapKey with general keys
  reader    reads results of the trains that --train names
  auditor   reads only, and uses no key
  officer   all RPCs

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
    /// Revoke RPCs, or all grants, of a principal
    Revoke(change::Revoke),
    /// List the grants
    List(AccessFileArgs),
    /// Evaluate whether a call would be permitted
    Check(check::Args),
}

/// Selects an access file.
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
    /// Returns the file's path, and the configuration whose access file it is. `--file` takes precedence over a configuration of another file.
    fn path(&self) -> Result<(PathBuf, Option<Config>), CliError> {
        if let Some(file) = &self.file {
            let station = self.config.as_ref().and_then(|config| Config::load(config).ok());
            return Ok((file.clone(), station.filter(|config| four_eyes::is_same_file(&config.access_file(), file))));
        }
        let Some(config) = &self.config else {
            return Err(CliError::usage("no access file is named: use --config FILE or --file FILE")
                .with_hint("STATIONMASTER_CONFIG names the service's configuration for all commands"));
        };
        let config = Config::load(config)?;
        Ok((config.access_file(), Some(config)))
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
        Command::List(args) => {
            let (path, grants) = args.read()?;
            let value = json!({ "file": path, "grants": grants.all().iter().map(json_of).collect::<Vec<_>>() });
            output.result(&value, || match grants.all() {
                [] => "There are no grants: all calls are refused. `access allow` adds a grant.\n".to_owned(),
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
            permitted_calls(grant),
            list(grant.keys()),
            list(grant.purposes()),
            list(grant.trains()),
            printable(grant.comment().unwrap_or("-")),
        ]
    };
    table(&["PRINCIPAL", "MAY CALL", "KEYS", "PURPOSES", "TRAINS", "COMMENT"], grants.iter().map(row).collect())
}

/// Returns the role with exactly the RPCs of a grant, or the names of the RPCs.
fn permitted_calls(grant: &Grant) -> String {
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
            .with_hint("`id -u NAME` shows a user's number; `openssl x509 -noout -ext subjectAltName` the names in a certificate")
    }
}
