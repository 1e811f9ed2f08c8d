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
A BACKUP FORGETS: runs that were finished after it was made are not in it, and
their trains would be opened here once more. Restore the newest backup there is,
and ask central which trains have passed this station since.

No service may hold the directory, and none of the files of a backup may be in
it; a lock file and a PIN latch stay as they are, and so does everything else.
Everything is copied and checked (digests, the ledger itself, its version)
before the first file is put in place. A ledger of an older version is brought
to this one.

The instance's id comes back, too: never let two services with one id run on one
engine, each would take away the other's containers.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The backup
    #[arg(value_name = "DIR")]
    backup: PathBuf,
    /// What becomes of runs that were open when the backup was made; needed where there are any
    #[arg(long, value_enum)]
    open_runs: Option<Open>,
    #[command(flatten)]
    place: StateDirArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Open {
    /// They stay open, and the next start goes on where the backup was: for when nothing has happened since
    Keep,
    /// They are ended as failed and their stops are free; what they may have left among the images is not touched
    Forget,
}

pub(super) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let (office, _lock) = args.place.held()?;
    let open_runs = args.open_runs.map(|open| match open {
        Open::Keep => OpenRuns::Keep,
        Open::Forget => OpenRuns::Forget,
    });
    let backup = args.backup.display().to_string();
    let entry = admin_audit::entry(Event::StateRestored, "state restore").with("backup", backup);
    let restored = office
        .carry_out(entry, || state::restore(&args.backup, (&office.directory, &office.audit), open_runs, office.handle()))?;
    let made = &restored.manifest.made;
    let warning = format!(
        "RUNS THAT WERE FINISHED AFTER {made} ARE FORGOTTEN: their trains would be opened here once more. Ask central which trains \
         have passed this station since"
    );
    let mut warnings = vec![warning];
    warnings.extend(roots_own(&office.directory));
    let value = json!({
        "state": office.directory,
        "made": made,
        "runs": restored.manifest.runs,
        "open_runs": restored.open.iter().map(view::summary).collect::<Vec<_>>(),
        "warnings": warnings,
    });
    output.result(&value, || {
        let open: Vec<&str> = restored.open.iter().map(|run| run.id.as_str()).collect();
        fields(&[
            ("State", office.directory.display().to_string()),
            ("Backup of", made.clone()),
            ("Runs", restored.manifest.runs.to_string()),
            ("Open then", open.join(", ")),
        ]) + &warnings.iter().map(|warning| format!("warning: {warning}\n")).collect::<String>()
    });
    Ok(())
}

/// What is said where root has restored for itself: a service that runs as another user cannot use it.
fn roots_own(directory: &Path) -> Option<String> {
    let is_roots = rustix::process::geteuid().is_root() && fs::metadata(directory).is_ok_and(|state| state.uid() == 0);
    is_roots.then(|| {
        let directory = directory.display();
        format!(
            "{directory} belongs to root. A service of another user cannot use it: `chown -R USER {directory}` (the unit's user)"
        )
    })
}
