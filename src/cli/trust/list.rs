//! `trust list`: lists the entries of the trust file.

use super::{TrustFileArgs, change::Entries, shared};
use crate::cli::{error::CliError, output::Output};

pub(super) fn run(args: &TrustFileArgs, output: Output) -> Result<(), CliError> {
    let (path, store) = args.read()?;
    let entries = Entries::all_of(&store);
    let warnings = shared::warnings(&store);
    output.result(&entries.value_with_warnings("entries", &path, &warnings), || {
        if entries.is_empty() {
            format!("{} has no entries: the station opens no train", path.display())
        } else {
            entries.table() + &shared::lines(&warnings)
        }
    });
    Ok(())
}
