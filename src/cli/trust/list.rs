//! `trust list`: lists the entries of the trust file.

use super::{TrustFileArgs, change::Entries, shared};
use crate::cli::{error::CliError, output::Output};

pub(super) fn run(place: &TrustFileArgs, output: Output) -> Result<(), CliError> {
    let (path, store) = place.read()?;
    let entries = Entries::of(&store);
    let warnings = shared::warnings(&store);
    output.result(&entries.value_and("entries", &path, &warnings), || {
        if entries.is_empty() {
            format!("{} has no entries: no train is opened", path.display())
        } else {
            entries.table() + &shared::told(&warnings)
        }
    });
    Ok(())
}
