//! `trust list`.

use super::{Place, change::Entries};
use crate::cli::{error::CliError, output::Output};

pub(super) fn run(place: &Place, output: Output) -> Result<(), CliError> {
    let (path, store) = place.read()?;
    let entries = Entries::of(&store);
    output.result(&entries.value("entries", &path), || {
        if entries.is_empty() { format!("{} names nobody: no train is believed", path.display()) } else { entries.table() }
    });
    Ok(())
}
