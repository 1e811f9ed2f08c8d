//! `run forget-session`: removes the binding of a train session.

use serde_json::json;

use crate::{
    audit::Event,
    cli::{admin_audit, error::CliError, output::Output, state_dir::StateDirArgs},
    ledger::{LedgerError, ReasonText},
};

const AFTER: &str = "\
A session is bound to the train id, creator and stop with which it was first
opened here; a train with the same session and another id, creator or stop is
refused (TRAIN_REPLAYED, differs). If the first train was the altered one, and
all of its runs were aborted, failed or allowed again, this command removes the
binding: the next valid train binds the session again.

Example:
  stationmaster run forget-session 5f2c… \\
      --reason \"the first copy was changed, ticket 4711\"";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The complete session id, hex, as `run show` and `train inspect` print it
    #[arg(value_name = "SESSION", value_parser = session)]
    session: Session,
    /// The reason; it is recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

/// A session id, raw.
#[derive(Clone, Debug)]
struct Session(Vec<u8>);

fn session(text: &str) -> Result<Session, String> {
    const_hex::decode(text).map(Session).map_err(|_| "must be hex digits".to_owned())
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (state_dir, ledger) = args.state_dir.ledger()?;
    let session = const_hex::encode(&args.session.0);
    let entry = admin_audit::entry(Event::SessionForgotten, "run forget-session");
    let entry = entry.with("session", session.as_str()).with("reason", args.reason.as_str());
    state_dir.carry_out(entry, || ledger.forget_session(&args.session.0).map_err(refused))?;
    output.result(&json!({ "session_id": session }), || "The next valid train binds the session again\n".to_owned());
    Ok(())
}

fn refused(error: LedgerError) -> CliError {
    let hint = match &error {
        LedgerError::InState(_) => {
            "a run uses the session: `run list --session HEX` shows it; close it, abandon it, or `run allow-again`"
        }
        LedgerError::NoSuchSession(_) => "no train of that session was opened here: check that the id is complete",
        _ => return error.into(),
    };
    CliError::from(error).with_hint(hint)
}
