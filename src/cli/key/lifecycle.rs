//! `key activate|rotate|retire`: changes of the states of train keys. A running service notices them at the next use of a key.

pub(super) mod activate;
pub(super) mod retire;
pub(super) mod rotate;
pub(super) mod station;

use serde_json::json;
use stationmaster_train::keys::spki_fingerprint;

use self::station::StationState;
use crate::{
    cli::{
        error::{CliError, Exit},
        output::{Output, fields},
    },
    key_states::{KeyState, KeyStates, KeyStatesError},
};

impl From<KeyStatesError> for CliError {
    fn from(error: KeyStatesError) -> Self {
        let hint = error.hint();
        Self::new(Exit::of_io(error.kind()), error).with_hint(hint)
    }
}

fn refused(message: String, hint: &str) -> CliError {
    CliError::new(Exit::State, message).with_hint(hint)
}

/// Returns the error that a retired key is never used again.
fn retired(label: &str) -> CliError {
    refused(
        format!("the train key {label:?} is retired"),
        "a retired key is never used again: `key generate LABEL --purpose train` makes another one, under a new label",
    )
}

/// Sets an entry; texts from arguments may be too long.
fn set(states: &mut KeyStates, label: &str, entry: crate::key_states::KeyStateEntry) -> Result<(), CliError> {
    states.set(label, entry).map(drop).map_err(CliError::usage)
}

/// Reports the keys whose states a command changed.
fn report(station: &StationState, labels: &[&str], output: Output) -> Result<(), CliError> {
    let states = station.states()?;
    let now = jiff::Timestamp::now();
    let fingerprint = |label: &str| station.key(label).map(|key| spki_fingerprint(&key.spki_der)).unwrap_or_default();
    let open = station.open_runs()?;
    let runs = |label: &str| open.iter().filter(|run| run.key_label == label).map(|run| run.id.to_string()).collect::<Vec<_>>();
    let until = |label: &str| states.entry(label).and_then(|entry| entry.until).map(|until| until.to_string());
    let of_key = |label: &&str| {
        json!({
            "label": label,
            "fingerprint": fingerprint(label),
            "state": states.state(label, now).name(),
            "until": until(label),
            "open_runs": runs(label),
        })
    };
    let value = json!({ "keys": labels.iter().map(of_key).collect::<Vec<_>>() });
    output.result(&value, || {
        let of_key = |label: &&str| {
            let mut text = fields(&[
                ("Label", (*label).to_owned()),
                ("Fingerprint", fingerprint(label)),
                ("State", states.state(label, now).to_string()),
            ]);
            if let Some(until) = until(label) {
                text += &fields(&[("Until", until)]);
            }
            let open = runs(label);
            if !open.is_empty() && states.state(label, now) != KeyState::Active {
                text += &fields(&[("Still out", open.join(", "))]);
            }
            text
        };
        labels.iter().map(of_key).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}
