//! Verifies the stations' audit logs after they have ended, with nothing but the log files and a public key each.

use stationmaster::audit::verify::{Expected, files, verify};

use super::{DemoError, report::DemoReport, stations::AuditLog};

/// Verifies every station's audit log, and reports the uses of the train key.
pub(super) fn verify_logs(logs: &[AuditLog], report: &mut DemoReport) -> Result<(), DemoError> {
    report.part("Verification with only the stations' logs and a public key each");
    let (mut records, mut uses) = (0, 0);
    for AuditLog { station, directory, key } in logs {
        let flaw = |what: String| DemoError::Unproven(format!("the audit of station {station}: {what}"));
        let expected = Expected { keys: &[key], ..Expected::default() };
        let found = files(directory).and_then(|files| verify(&files, expected)).map_err(|error| flaw(error.to_string()))?;
        if let Some(first) = found.flaws.first() {
            return Err(flaw(first.what.clone()));
        }
        if found.checkpoints == 0 {
            return Err(flaw("no checkpoint is signed".to_owned()));
        }
        let of_train = found.uses.iter().filter(|((label, _), _)| label == station).flat_map(|(_, by)| by.values());
        let used: u64 = of_train.map(|uses| uses.announced).sum();
        let size = found.head.map_or(0, |head| head.size);
        report.step(
            station,
            format!("{size} records, {} covered by a signed checkpoint; its train key was used {used} times", found.covered),
        );
        records += size;
        uses += used;
    }
    report.proven(format!(
        "Every use of a key ({uses} of the train keys), every refusal and every grant is in the stations' audit logs, {records} records in \
         total,\nchained, and signed in the tokens when the stations ended"
    ));
    Ok(())
}
