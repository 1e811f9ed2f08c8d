//! Reads the states of train keys from the file of key states and the ledger.

use jiff::Timestamp;

use super::{lifecycle::station::StationState, state_view::StateView, view::KeyView};
use crate::{
    cli::{error::CliError, token_access::TokenContext},
    ledger::Run,
};

/// Adds their states to the train keys among the keys of a token.
pub(super) fn add_states(keys: &mut [KeyView], direct: &TokenContext) -> Result<(), CliError> {
    let station = StationState::open(direct)?;
    let states = station.states()?;
    let labels = station.train_labels(&states)?;
    let (mut open, runs) = (station.open_runs()?, station.runs_by_key()?);
    for key in keys.iter_mut().filter(|key| labels.contains(&key.label)) {
        let (of_key, others) = open.into_iter().partition(|run: &Run| run.key_label == key.label);
        open = others;
        key.state = Some(StateView {
            state: states.state(&key.label, Timestamp::now()),
            entry: states.entry(&key.label).cloned(),
            runs: runs.get(&key.label).copied().unwrap_or(0),
            open: of_key,
        });
    }
    Ok(())
}
