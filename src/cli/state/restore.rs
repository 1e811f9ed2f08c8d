//! `state restore`: restores a backup.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    audit::Event,
    cli::{
        admin_audit,
        error::CliError,
        output::{Output, fields},
        run::view,
        state_dir::StateDirArgs,
    },
    state::{self, OpenRuns},
};

const AFTER: &str = "\
A BACKUP IS INCOMPLETE: it does not contain runs that completed after it was
made, and their trains could be opened here again. Restore the newest backup,
and ask the central service which trains have passed this station since then.

No service may be running on the directory, and it must not contain any file of
a backup; other files, such as a lock file and a PIN latch, are not changed.
Everything is copied and verified (digests, the ledger and its version) before
the first file is installed. A ledger of an older version is migrated.

The instance's id is restored too: never run two services with one id on one
engine, because each would remove the other's containers.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The backup
    #[arg(value_name = "DIR")]
    backup: PathBuf,
    /// How to handle runs that were open when the backup was made; required if there are any
    #[arg(long, value_enum)]
    open_runs: Option<Open>,
    #[command(flatten)]
    state_dir: StateDirArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Open {
    /// They stay open, and the next start continues from the backup: correct if nothing has happened since
    Keep,
    /// They end as failed and their stops may run again; images that they may have left are not touched
    Forget,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (state_dir, _lock) = args.state_dir.locked()?;
    let open_runs = args.open_runs.map(|open| match open {
        Open::Keep => OpenRuns::Keep,
        Open::Forget => OpenRuns::Forget,
    });
    let backup = args.backup.display().to_string();
    let entry = admin_audit::entry(Event::StateRestored, "state restore").with("backup", backup);
    let restored = state_dir.carry_out(entry, || {
        state::restore(&args.backup, (&state_dir.directory, &state_dir.audit), open_runs, state_dir.handle())
    })?;
    let made = &restored.manifest.made;
    let warning = format!(
        "RUNS THAT COMPLETED AFTER {made} ARE NOT IN THE LEDGER: their trains could be opened here again. Ask the central service which \
         trains have passed this station since then"
    );
    let mut warnings = vec![warning];
    warnings.extend(root_owner_warning(&state_dir.directory));
    let value = json!({
        "state": state_dir.directory,
        "made": made,
        "runs": restored.manifest.runs,
        "open_runs": restored.open.iter().map(view::summary).collect::<Vec<_>>(),
        "warnings": warnings,
    });
    output.result(&value, || {
        let open: Vec<String> = restored.open.iter().map(|run| run.id.to_string()).collect();
        fields(&[
            ("State", state_dir.directory.display().to_string()),
            ("Backup of", made.clone()),
            ("Runs", restored.manifest.runs.to_string()),
            ("Open then", open.join(", ")),
        ]) + &warnings.iter().map(|warning| format!("warning: {warning}\n")).collect::<String>()
    });
    Ok(())
}

/// Returns a warning if root owns the directory: a service that runs as another user cannot use it.
fn root_owner_warning(directory: &Path) -> Option<String> {
    let is_roots = rustix::process::geteuid().is_root() && fs::metadata(directory).is_ok_and(|state| state.uid() == 0);
    is_roots.then(|| {
        let directory = directory.display();
        format!(
            "{directory} belongs to root. A service that runs as another user cannot use it: `chown -R USER {directory}` (the unit's user)"
        )
    })
}
