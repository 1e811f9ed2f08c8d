//! `run list`: lists runs.

use serde_json::json;

use super::view;
use crate::{
    cli::{
        error::CliError,
        output::{Output, printable, table},
        state_dir::StateDirArgs,
    },
    ledger::{Run, RunFilter, RunState},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only runs that have not ended
    #[arg(long)]
    open: bool,
    /// Only runs in this state: opening, prepared, closing, completed, aborting, aborted, failed
    #[arg(long, value_name = "STATE", value_parser = state, conflicts_with = "open")]
    only: Option<RunState>,
    /// Only runs of the train with this id
    #[arg(long, value_name = "ID")]
    train: Option<String>,
    /// Only runs of train sessions with this prefix (hex)
    #[arg(long, value_name = "HEX", value_parser = session)]
    session: Option<String>,
    /// Maximum number of runs
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

fn state(name: &str) -> Result<RunState, String> {
    RunState::from_name(name).ok_or_else(|| format!("one of {}", RunState::ALL.map(RunState::as_str).join(", ")))
}

fn session(text: &str) -> Result<String, &'static str> {
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { Ok(text.to_ascii_lowercase()) } else { Err("must be hex digits") }
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (_state_dir, ledger) = args.state_dir.ledger()?;
    let filter = RunFilter {
        open: args.open,
        state: args.only,
        train: args.train.clone(),
        session: args.session.clone(),
        limit: args.limit,
    };
    let runs = ledger.list(&filter)?;
    output.result(&json!({ "runs": runs.iter().map(view::summary).collect::<Vec<_>>() }), || people(&runs, args.limit));
    Ok(())
}

fn people(runs: &[Run], limit: u32) -> String {
    let row = |run: &Run| {
        let mut session = const_hex::encode(&run.session_id);
        session.truncate(12);
        vec![
            run.id.to_string(),
            run.state.as_str().to_owned(),
            run.stop_index.to_string(),
            session,
            view::time(run.created_at),
            printable(&run.train_id),
            printable(&run.image),
            view::note(run),
        ]
    };
    let header = ["RUN", "STATE", "STOP", "SESSION", "STARTED", "TRAIN", "IMAGE", "NOTE"];
    let mut text = table(&header, runs.iter().map(row).collect());
    if runs.is_empty() {
        text += "(no run matches)\n";
    } else if runs.len() as u64 == u64::from(limit) {
        text += &format!("(the newest {limit}; --limit shows more)\n");
    }
    text
}
