//! `trust list`.

use super::{Place, change::Entries};
use crate::cli::{error::CliError, output::Output};

pub(super) fn run(place: &Place, output: Output) -> Result<(), CliError> {
    let (path, store) = place.read()?;
    let entries = Entries::of(&store);
    output.result(&entries.value("entries", &path), || {
        if entries.is_empty() { format!("{} has no entries: no train is opened", path.display()) } else { entries.table() }
    });
    Ok(())
}
