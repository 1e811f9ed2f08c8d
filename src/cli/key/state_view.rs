//! The state of a train key in output: what the file of key states and the ledger say of it.

use serde_json::{Value, json};

use crate::{
    cli::output::fields,
    key_states::{KeyState, KeyStateEntry},
    ledger::Run,
};

/// The state of a train key.
pub(super) struct StateView {
    pub state: KeyState,
    pub entry: Option<KeyStateEntry>,
    /// Number of its runs, open or ended.
    pub runs: u64,
    /// Its open runs: trains that are still out.
    pub open: Vec<Run>,
}

impl StateView {
    /// Returns when the key becomes, or became, retired by date.
    pub(super) fn until(&self) -> String {
        let until = self.entry.as_ref().and_then(|entry| entry.until);
        until.map_or_else(|| "-".to_owned(), |until| until.to_string())
    }

    pub(super) fn runs(&self) -> String {
        match self.open.len() {
            0 => self.runs.to_string(),
            open => format!("{} ({open} open)", self.runs),
        }
    }

    pub(super) fn json(&self) -> Value {
        let entry = self.entry.as_ref();
        json!({
            "state": self.state.name(),
            "since": entry.map(|entry| entry.since.to_string()),
            "until": entry.and_then(|entry| entry.until).map(|until| until.to_string()),
            "successor": entry.and_then(|entry| entry.successor.as_ref()),
            "reason": entry.and_then(|entry| entry.reason.as_ref()),
            "runs": self.runs,
            "open_runs": self.open.iter().map(|run| run.id.to_string()).collect::<Vec<_>>(),
        })
    }

    pub(super) fn people(&self) -> String {
        let mut text = fields(&[("State", self.state.to_string()), ("Until", self.until()), ("Runs", self.runs())]);
        if let Some(successor) = self.entry.as_ref().and_then(|entry| entry.successor.clone()) {
            text += &fields(&[("Successor", successor)]);
        }
        for run in &self.open {
            text += &fields(&[("Open run", format!("{} of the train {}", run.id, run.train_id))]);
        }
        text
    }
}
