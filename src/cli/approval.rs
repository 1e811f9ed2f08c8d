//! `approval list|show|approve|reject|accept-officers`: the second officer's side of guarded acts.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    admin_audit::four_eyes::{self, Found, FourEyesArgs, OfficerKey, Proposal, Store, Verdict, WhyArgs},
    error::CliError,
    output::{Output, fields, printable, table},
};
use crate::{
    config::{Config, GuardedAct},
    ledger::ReasonText,
};

const AFTER: &str = "\
[four_eyes] of the configuration names acts that a second officer must approve.
A command for such an act writes a request and ends with exit code 9. Another
officer, with another key and logged in as another user, looks at the request
and approves it; then the command is repeated with --request, once.

A person with the PIN and the token's module can bypass this with another program:
docs/four-eyes.md says how to prevent it.

Examples:
  export STATIONMASTER_CONFIG=/etc/stationmaster/stationmaster.toml
  stationmaster approval list
  stationmaster approval show 0193a1c2-7b1e-7c55-9d52-5f6f3a0c7f10
  stationmaster approval approve 0193a1c2-7b1e-7c55-9d52-5f6f3a0c7f10 \\
      --officer-key ~/officer.pem
  stationmaster approval reject 0193a1c2-7b1e-7c55-9d52-5f6f3a0c7f10 \\
      --officer-key ~/officer.pem --reason \"wrong fingerprint\"";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Command {
    /// List the requests, oldest first
    List(ConfigArgs),
    /// Show a request: what exactly, who, why
    Show(Show),
    /// Approve a request of another officer
    Approve(Approve),
    /// Reject a request, also one's own
    Reject(Reject),
    /// Put the officers of a changed file in force
    AcceptOfficers(Accept),
}

/// Names the station.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The service's configuration
    #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The request
    id: Uuid,
    #[command(flatten)]
    station: ConfigArgs,
}

/// The key of the officer who decides.
#[derive(Debug, clap::Args)]
struct KeyOfOfficer {
    /// Your private key, PEM
    #[arg(long, value_name = "PEM", env = "STATIONMASTER_OFFICER_KEY", hide_env_values = true)]
    officer_key: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "stationmaster approval approve --officer-key PEM [OPTIONS] ID")]
pub(super) struct Approve {
    /// The request
    id: Uuid,
    #[command(flatten)]
    key: KeyOfOfficer,
    /// A remark, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<ReasonText>,
    /// Do not ask for confirmation: what `approval show` prints has been read
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    station: ConfigArgs,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "stationmaster approval reject --officer-key PEM --reason TEXT ID")]
pub(super) struct Reject {
    /// The request
    id: Uuid,
    #[command(flatten)]
    key: KeyOfOfficer,
    /// The reason
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    #[command(flatten)]
    station: ConfigArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct Accept {
    #[command(flatten)]
    why: WhyArgs,
    #[command(flatten)]
    four_eyes: FourEyesArgs,
    #[command(flatten)]
    station: ConfigArgs,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::List(station) => list(&station.load()?, output),
        Command::Show(args) => {
            let config = args.station.load()?;
            let found = store(&config)?.find(&args.id)?;
            output.result(&value(&found), || people(&found));
            Ok(())
        }
        Command::Approve(args) => approve(&args, output),
        Command::Reject(args) => {
            let config = args.station.load()?;
            let found = four_eyes::recorded(&config, "approval reject", Some(&args.id), || {
                let key = OfficerKey::read(Some(&args.key.officer_key))?;
                store(&config)?.decide(&args.id, &key, Verdict::Reject, Some(&args.reason))
            })?;
            output.result(&value(&found), || format!("Rejected\n{}", people(&found)));
            Ok(())
        }
        Command::AcceptOfficers(args) => accept(&args, output),
    }
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, CliError> {
        Ok(Config::load(&self.config)?)
    }
}

/// Opens the requests. Those about officers themselves are decided by officers of both files.
fn store(config: &Config) -> Result<Store<'_>, CliError> {
    Store::open(config, GuardedAct::OfficersChange)
}

fn list(config: &Config, output: Output) -> Result<(), CliError> {
    let store = store(config)?;
    let (mut shown, mut rows) = (Vec::new(), Vec::new());
    for id in store.ids()? {
        match store.find(&id) {
            Ok(found) => {
                let request = &found.request;
                rows.push(vec![
                    request.id.clone(),
                    found.state.name().to_owned(),
                    printable(&request.command),
                    printable(&request.officer),
                    request.expires.clone(),
                ]);
                shown.push(value(&found));
            }
            Err(error) => {
                rows.push([&id.to_string(), "refused", &printable(&error.message), "-", "-"].map(str::to_owned).to_vec());
                shown.push(json!({ "request": id.to_string(), "state": "refused", "cause": error.message }));
            }
        }
    }
    output.result(&json!({ "requests": shown }), || match rows.is_empty() {
        true => "There are no requests.\n".to_owned(),
        false => table(&["REQUEST", "STATE", "COMMAND", "OFFICER", "EXPIRES"], rows),
    });
    Ok(())
}

fn approve(args: &Approve, output: Output) -> Result<(), CliError> {
    let config = args.station.load()?;
    let found = four_eyes::recorded(&config, "approval approve", Some(&args.id), || {
        let key = OfficerKey::read(Some(&args.key.officer_key))?;
        if !args.yes {
            // Unlocked while the officer reads.
            let found = store(&config)?.find(&args.id)?;
            confirm(&found, output)?;
        }
        store(&config)?.decide(&args.id, &key, Verdict::Approve, args.reason.as_ref())
    })?;
    output.result(&value(&found), || {
        format!("Approved: the command may be repeated with --request {}, once\n{}", found.request.id, people(&found))
    });
    Ok(())
}

fn confirm(found: &Found, output: Output) -> Result<(), CliError> {
    let refused = CliError::usage("the request has not been confirmed");
    if output.is_json() || !io::stdin().is_terminal() {
        return Err(refused.with_hint("read what `approval show` prints, then use --yes"));
    }
    let mut err = io::stderr();
    let _ = write!(err, "{}\nApprove exactly this? Type yes: ", people(found));
    let _ = err.flush();
    let mut answer = String::new();
    match io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err(refused.with_hint("nothing was changed")),
    }
}

fn accept(args: &Accept, output: Output) -> Result<(), CliError> {
    let config = args.station.load()?;
    let parameters = four_eyes::officers_change(&config)?;
    let proposal = Proposal {
        act: GuardedAct::OfficersChange,
        command: "approval accept-officers",
        parameters,
        reason: args.why.reason.as_ref(),
    };
    let permit = four_eyes::permit(Some(&config), &proposal, &args.four_eyes)?;
    let officers = store(&config)?.accept_officers(permit, &proposal.parameters)?;
    output.result(&json!({ "officers": officers }), || "The officers of the file are in force.\n".to_owned());
    Ok(())
}

fn value(found: &Found) -> Value {
    let request = &found.request;
    let decision = found.decision.as_ref().map(|decision| {
        json!({
            "verdict": decision.verdict,
            "officer": decision.officer,
            "fingerprint": decision.fingerprint,
            "reason": decision.reason,
            "decided": decision.decided,
        })
    });
    json!({
        "request": request.id,
        "state": found.state,
        "station": request.station,
        "act": request.act,
        "command": request.command,
        "parameters": request.parameters,
        "reason": request.reason,
        "officer": request.officer,
        "fingerprint": request.fingerprint,
        "requested": request.requested,
        "expires": request.expires,
        "digest": found.digest,
        "decision": decision,
    })
}

fn people(found: &Found) -> String {
    let request = &found.request;
    let mut lines = vec![
        ("Request", request.id.clone()),
        ("State", found.state.name().to_owned()),
        ("Station", printable(&request.station)),
        ("Act", request.act.name().to_owned()),
        ("Command", printable(&request.command)),
        ("Parameters", printable(&request.parameters.to_string())),
        ("Reason", printable(request.reason.as_deref().unwrap_or("-"))),
        ("Requested by", format!("{} {}", printable(&request.officer), request.fingerprint)),
        ("Requested", request.requested.clone()),
        ("Expires", request.expires.clone()),
    ];
    if let Some(decision) = &found.decision {
        lines.push(("Decided by", format!("{} {}", printable(&decision.officer), decision.fingerprint)));
        lines.push(("Decided", decision.decided.clone()));
    }
    fields(&lines)
}
