//! `run forget-session`: removes the binding of a train session.

use serde_json::json;

use crate::{
    audit::Event,
    cli::{admin_audit, error::CliError, output::Output, state_dir::StateDirArgs},
    ledger::{LedgerError, Reason},
};

const AFTER: &str = "\
A session belongs to the train id, the creator and the stop that it was first
opened with here; a train that comes with the session and another of them is
refused (TRAIN_REPLAYED, differs). Where the first one was the changed one, and
all of its runs were aborted, failed or allowed again, this forgets what it was:
the next train that proves right binds the session anew.

Example:
  stationmaster run forget-session 5f2c… \\
      --reason \"the first copy was changed, ticket 4711\"";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The whole session id, hex, as `run show` and `train inspect` print it
    #[arg(value_name = "SESSION", value_parser = session)]
    session: Session,
    /// Why; it is kept in the audit
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    #[command(flatten)]
    place: StateDirArgs,
}

/// A session id, raw.
#[derive(Clone, Debug)]
struct Session(Vec<u8>);

fn session(text: &str) -> Result<Session, String> {
    const_hex::decode(text).map(Session).map_err(|_| "hex digits".to_owned())
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (office, ledger) = args.place.ledger()?;
    let session = const_hex::encode(&args.session.0);
    let entry = admin_audit::entry(Event::SessionForgotten, "run forget-session");
    let entry = entry.with("session", session.as_str()).with("reason", args.reason.as_str());
    office.carry_out(entry, || ledger.forget_session(&args.session.0).map_err(refused))?;
    output.result(&json!({ "session_id": session }), || {
        "The session is bound anew by the next train that proves right\n".to_owned()
    });
    Ok(())
}

fn refused(error: LedgerError) -> CliError {
    let hint = match &error {
        LedgerError::InState(_) => {
            "a run holds the session: `run list --session HEX` shows it; close it, give it up, or `run allow-again`"
        }
        LedgerError::NoSuchSession(_) => "no train of that session was opened here: give the whole id",
        _ => return error.into(),
    };
    CliError::from(error).with_hint(hint)
}
