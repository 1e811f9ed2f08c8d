//! `access allow` and `access revoke`: change grants in the access file.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{AccessFileArgs, json_of, table_of};
use crate::{
    audit::{Entry, Event},
    authz::{Grant, GrantSpec, Principal, Role, Rpc, file},
    cli::{
        admin_audit::{
            self,
            four_eyes::{self, FourEyesArgs, Proposal, WhyArgs},
        },
        error::{CliError, Exit},
        output::Output,
    },
    config::{Config, GuardedAct},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Allow {
    /// The principal: unix:uid=N, unix:gid=N, dns:NAME, or a URI
    principal: String,
    /// A set of RPCs
    #[arg(long, value_enum, required_unless_present = "rpcs")]
    role: Option<RoleArg>,
    /// The name of an RPC; can be given several times
    #[arg(long = "rpc", value_name = "NAME")]
    rpcs: Vec<String>,
    /// The label of a key that it may see and use; can be given several times. Without it: all keys of the RPCs' purposes
    #[arg(long = "key", value_name = "LABEL")]
    keys: Vec<String>,
    /// The purpose of keys that it may use, if it differs from that of the RPCs: "train" permits Sign with the station's train key, if [keys]
    /// raw_use names it
    #[arg(long = "purpose", value_name = "PURPOSE", value_parser = ["train", "general"])]
    purposes: Vec<String>,
    /// The id of a train; without it all trains
    #[arg(long = "train", value_name = "ID")]
    trains: Vec<String>,
    /// A comment
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    four_eyes: FourEyesArgs,
    #[command(flatten)]
    access_file: AccessFileArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Opens and closes trains
    Station,
    /// Sign and UnwrapKey
    Signer,
    /// Reads the results of the trains that --train names
    Reader,
    /// Reads only, and uses no key
    Auditor,
    /// All RPCs
    Officer,
}

impl RoleArg {
    fn role(self) -> Role {
        match self {
            Self::Station => Role::Station,
            Self::Signer => Role::Signer,
            Self::Reader => Role::Reader,
            Self::Auditor => Role::Auditor,
            Self::Officer => Role::Officer,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Revoke {
    /// The principal, as `access list` shows it
    principal: String,
    /// The name of an RPC; without it all grants of the principal
    #[arg(long = "rpc", value_name = "NAME")]
    rpcs: Vec<String>,
    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    four_eyes: FourEyesArgs,
    #[command(flatten)]
    access_file: AccessFileArgs,
}

pub(super) fn allow(args: &Allow, output: Output) -> Result<(), CliError> {
    let (path, station) = args.access_file.path()?;
    let mut rpcs = args.rpcs.clone();
    rpcs.extend(args.role.iter().flat_map(|role| role.role().rpcs()).map(|rpc| rpc.name().to_owned()));
    let all = ["*".to_owned()];
    let uses_keys = rpcs.iter().filter_map(|name| Rpc::from_name(name)).any(|rpc| rpc.keys() != crate::authz::RpcKeys::None);
    let keys = if args.keys.is_empty() && uses_keys { &all[..] } else { &args.keys };
    let grant = Grant::new(&GrantSpec {
        principal: &args.principal,
        rpcs: &rpcs,
        keys: some(keys),
        purposes: some(&args.purposes),
        trains: some(&args.trains),
        comment: args.comment.as_deref(),
    })?;
    file::update(&path, |grants| {
        let entry = admin_audit::entry(Event::AccessChanged, "access allow").with("allowed", json_of(&grant));
        record(
            station.as_ref(),
            entry,
            &proposal("access allow", &path, "allowed", &json_of(&grant), &args.why),
            &args.four_eyes,
        )?;
        grants.add(grant.clone());
        Ok::<_, CliError>(())
    })?;
    output.result(&json!({ "file": path, "allowed": json_of(&grant) }), || {
        format!("Granted, in {}\n{}", path.display(), table_of(std::slice::from_ref(&grant)))
    });
    Ok(())
}

pub(super) fn revoke(args: &Revoke, output: Output) -> Result<(), CliError> {
    let (path, station) = args.access_file.path()?;
    let principal: Principal = args.principal.parse()?;
    let rpc = |name: &String| Rpc::from_name(name).ok_or_else(|| CliError::usage(format!("there is no RPC {name:?}")));
    let rpcs = args.rpcs.iter().map(rpc).collect::<Result<Vec<_>, _>>()?;
    // Revoking must not create a missing file.
    file::read(&path)?;
    let changed = file::update(&path, |grants| {
        let changed = grants.revoke(&principal, &rpcs);
        if changed == 0 {
            return Err(CliError::new(Exit::NotFound, format!("{principal} has no such grant in {}", path.display()))
                .with_hint("`access list` shows all grants"));
        }
        let revoked = json!({ "principal": principal.to_string(), "rpcs": args.rpcs });
        let entry = admin_audit::entry(Event::AccessChanged, "access revoke").with("revoked", revoked.clone());
        record(station.as_ref(), entry, &proposal("access revoke", &path, "revoked", &revoked, &args.why), &args.four_eyes)?;
        Ok(changed)
    })?;
    output.result(&json!({ "file": path, "principal": principal.to_string(), "changed": changed }), || {
        format!("Revoked, in {}; grants changed: {changed}\n", path.display())
    });
    Ok(())
}

fn proposal<'a>(command: &'a str, file: &Path, what: &str, changed: &Value, why: &'a WhyArgs) -> Proposal<'a> {
    let parameters = json!({ "file": file, what: changed });
    Proposal { act: GuardedAct::GrantChange, command, parameters, reason: why.reason.as_ref() }
}

/// Records a change with its permit.
fn record(station: Option<&Config>, entry: Entry, proposal: &Proposal, args: &FourEyesArgs) -> Result<(), CliError> {
    let permit = four_eyes::permit(station, proposal, args)?;
    let entry = match proposal.reason {
        Some(reason) => entry.with("reason", reason.as_str()),
        None => entry,
    };
    admin_audit::record_change(station.map(Config::audit_directory).as_deref(), entry, permit)
}

fn some(names: &[String]) -> Option<&[String]> {
    Some(names).filter(|names| !names.is_empty())
}
