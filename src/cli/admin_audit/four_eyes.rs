//! Guarded acts: a permit is given at once, or, where `[four_eyes]` names the act, after a second officer's approval.
//!
//! A command without `--request` writes a request, signed by the officer who requests it, and fails with exit code 9. Another officer
//! approves it (`approval approve`). The same command with `--request ID` then gets its permit, once.

mod document;
mod in_force;
mod officer_key;
mod officers;
mod store;

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::pkey::PKey;
use serde_json::{Value, json};
use uuid::Uuid;

pub(in crate::cli) use self::{
    document::Verdict,
    in_force::officers_change,
    officer_key::OfficerKey,
    store::{Found, Store},
};
use super::{CommandUser, Permit};
use crate::{
    audit::Event,
    cli::error::{CliError, Exit},
    config::{Config, GuardedAct},
    ledger::ReasonText,
};

/// The directory of requests in the state directory.
pub(in crate::cli) const DIRECTORY: &str = "four-eyes";

/// How a guarded act is requested, and carried out after its approval.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct FourEyesArgs {
    /// Carry out what a second officer has approved
    #[arg(long, value_name = "ID", help_heading = "Four eyes")]
    pub request: Option<Uuid>,
    /// Your private key, PEM: signs the request if a second officer must approve the command
    #[arg(long, value_name = "PEM", env = "STATIONMASTER_OFFICER_KEY", hide_env_values = true, help_heading = "Four eyes")]
    pub officer_key: Option<PathBuf>,
}

/// The reason of an act that needs none by itself.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct WhyArgs {
    /// The reason, for the second officer and the audit
    #[arg(long, value_name = "TEXT", help_heading = "Four eyes")]
    pub reason: Option<ReasonText>,
}

/// A guarded act with everything that determines its effect.
pub(in crate::cli) struct Proposal<'a> {
    pub act: GuardedAct,
    /// The command, without its arguments.
    pub command: &'a str,
    /// The effective parameters, with digests of input files.
    pub parameters: Value,
    pub reason: Option<&'a ReasonText>,
}

/// Returns the permit for an act.
///
/// # Errors
/// Exit code 9 after a request was written, if a second officer must approve the act first; otherwise the cause of the refusal, which
/// is in the audit.
pub(in crate::cli) fn permit(config: Option<&Config>, proposal: &Proposal, args: &FourEyesArgs) -> Result<Permit, CliError> {
    let Some(config) = config.filter(|config| config.four_eyes.guards(proposal.act)) else {
        return match &args.request {
            None => Ok(Permit { act: proposal.act, approval: None }),
            Some(_) => Err(CliError::usage(format!("{} needs no approval here", proposal.act.name()))
                .with_hint("leave --request out, or name the configuration whose [four_eyes] names the act with --config")),
        };
    };
    recorded(config, proposal.command, args.request.as_ref(), || {
        let store = Store::open(config, proposal.act)?;
        match &args.request {
            Some(id) => Ok(Permit { act: proposal.act, approval: Some(store.use_approved(id, proposal)?) }),
            None => Err(store.request(proposal, args)?),
        }
    })
}

/// Returns the configuration for an act on a state directory that was named without one.
///
/// # Errors
/// When the station's guarded acts need its configuration.
pub(in crate::cli) fn check_unconfigured(state: &Path) -> Result<(), CliError> {
    if state.join(DIRECTORY).symlink_metadata().is_err() {
        return Ok(());
    }
    Err(CliError::new(Exit::Permission, format!("{} belongs to a station whose acts a second officer approves", state.display()))
        .with_hint("name its configuration with --config"))
}

/// Returns whether two paths lead to one file.
pub(in crate::cli) fn is_same_file(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    whole(one).is_some_and(|one| Some(one) == whole(other))
}

/// Returns whether a signature, base64, of a message is valid for a public key, SubjectPublicKeyInfo.
pub(in crate::cli) fn verifies(spki_der: &[u8], message: &[u8], signature: &str) -> bool {
    let key = PKey::public_key_from_der(spki_der).ok();
    let signature = STANDARD.decode(signature).ok();
    key.zip(signature).is_some_and(|(key, signature)| officer_key::is_valid(&key, message, &signature))
}

/// Records why an act or a decision was refused.
pub(in crate::cli) fn recorded<T>(
    config: &Config,
    command: &str,
    request: Option<&Uuid>,
    act: impl FnOnce() -> Result<T, CliError>,
) -> Result<T, CliError> {
    let outcome = act();
    if let Err(error) = &outcome
        && (error.exit != Exit::Pending || request.is_some())
    {
        let mut entry = super::entry(Event::ApprovalRefused, command);
        entry.detail = Some(error.message.clone());
        if let Some(id) = request {
            entry = entry.with("request", id.to_string());
        }
        super::record(&config.audit_directory(), entry)?;
    }
    outcome
}

fn refused(message: String) -> CliError {
    CliError::new(Exit::Permission, message)
}

/// Returns the time after some hours, RFC 3339.
fn in_hours(hours: u32) -> jiff::Timestamp {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second() + i64::from(hours) * 3600).unwrap_or(now)
}

/// Returns what the records of an act say about its approval.
fn approval(request: &document::Request, decision: &document::Decision, digest: &str) -> Value {
    let person = |officer: &str, fingerprint: &str, person: CommandUser| json!({ "officer": officer, "fingerprint": fingerprint, "uid": person.person() });
    json!({
        "request": request.id,
        "digest": digest,
        "requested_by": person(&request.officer, &request.fingerprint, request.person),
        "approved_by": person(&decision.officer, &decision.fingerprint, decision.person),
    })
}
