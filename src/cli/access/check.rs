//! `access check`: shows whether a call would be permitted, and why.

use serde_json::json;

use super::{AccessFileArgs, json_of, table_of};
use crate::{
    authz::{Grant, Permit, Principal, Principals, Purpose, Rpc, RpcKeys},
    cli::{
        error::{CliError, Exit},
        output::Output,
    },
};

const AFTER: &str = "\
Exit code 0 if the call would be permitted, 7 if it would be refused.

A connection proves several principals at once (a user and its group, all names
of a certificate); this command evaluates one.

Examples:
  stationmaster access check unix:uid=1000 PreRun
  stationmaster access check dns:ci.hospital.example Sign reports";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The principal
    principal: String,
    /// The RPC, by its name
    rpc: String,
    /// A key, by its label
    key: Option<String>,
    /// The key's purpose
    #[arg(long, value_parser = ["train", "general"])]
    purpose: Option<String>,
    /// A train, by its id
    #[arg(long, value_name = "ID")]
    train: Option<String>,
    #[command(flatten)]
    access_file: AccessFileArgs,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (path, grants) = args.access_file.read()?;
    let principal: Principal = args.principal.parse()?;
    let rpc = Rpc::from_name(&args.rpc).ok_or_else(|| {
        let names: Vec<_> = Rpc::ALL.iter().map(|rpc| rpc.name()).collect();
        CliError::usage(format!("there is no RPC {:?}", args.rpc)).with_hint(format!("the RPCs are: {}", names.join(", ")))
    })?;
    let relevant: Vec<Grant> = grants
        .all()
        .iter()
        .filter(|grant| *grant.principal() == principal && grant.rpcs().any(|granted| granted == rpc))
        .cloned()
        .collect();
    let decided = decide(grants.decide(&Principals::one(principal.clone()), rpc), args, rpc);
    let (allowed, explanation) = match &decided {
        Ok(()) => (true, "allowed".to_owned()),
        Err(cause) => (false, (*cause).to_owned()),
    };
    let value = json!({
        "file": path,
        "principal": principal.to_string(),
        "rpc": rpc.name(),
        "key": args.key,
        "train": args.train,
        "allowed": allowed,
        "why": explanation,
        "grants": relevant.iter().map(json_of).collect::<Vec<_>>(),
    });
    if !allowed {
        return Err(CliError::new(Exit::Permission, format!("refused: {explanation}"))
            .with_hint("`access allow` grants it; `access list` shows the grants"));
    }
    output.result(&value, || format!("Allowed, by\n{}", table_of(&relevant)));
    Ok(())
}

fn decide(permit: Option<Permit>, args: &Args, rpc: Rpc) -> Result<(), &'static str> {
    let permit = permit.ok_or("no grant of this principal names this RPC (RPC_NOT_ALLOWED)")?;
    let permit = match &args.train {
        Some(train) => permit.for_train(train).ok_or("no grant covers this train (RPC_NOT_ALLOWED)")?,
        None => permit,
    };
    let Some(label) = &args.key else { return Ok(()) };
    let purpose = match (args.purpose.as_deref(), rpc.keys()) {
        (Some("train"), _) | (None, RpcKeys::Train) => Purpose::Train,
        _ => Purpose::General,
    };
    if permit.covers_key(label, purpose) { Ok(()) } else { Err("no grant covers this key with this purpose (KEY_NOT_ALLOWED)") }
}
