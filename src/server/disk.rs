//! Checks the free space on the disks that the station writes to.

use std::path::PathBuf;

use crate::config::Config;

/// Minimum of free space for state and audit, in MiB.
const LITTLE_MIB: u64 = 16;

/// Directories, and the MiB that must be free on their disks.
pub(super) struct Disks(Vec<(PathBuf, u64)>);

impl Disks {
    pub(super) fn new(config: &Config) -> Self {
        let little = |path| (path, LITTLE_MIB);
        let mut all = vec![(config.state.spool_directory(), config.limits.spool_min_free_mib)];
        all.push(little(config.state.directory.clone()));
        // With a reserve the audit can be written even if its disk is full for all else, and the component `audit` reports when
        // it cannot.
        if config.audit.reserve_mib == 0 {
            all.push(little(config.audit_directory()));
        }
        all.extend(config.layouts.directory.iter().cloned().map(little));
        all.extend(config.runs.directory.iter().cloned().map(little));
        Self(all)
    }

    /// Checks whether each directory has its free space now.
    pub(super) fn check(&self) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let all = self.0.clone();
        async move {
            let looked = tokio::task::spawn_blocking(move || all.iter().find_map(|(path, mib)| lacking(path, *mib)));
            looked.await.map_err(|error| error.to_string())?.map_or(Ok(()), Err)
        }
    }
}

/// Returns the problem with the first disk that has too little space. A directory that does not exist yet is passed over.
pub(crate) fn lack(config: &Config) -> Option<String> {
    Disks::new(config).0.iter().filter(|(path, _)| path.exists()).find_map(|(path, mib)| lacking(path, *mib))
}

/// Returns the problem with the disk of a directory. The free space is omitted, because it changes with every check.
fn lacking(path: &PathBuf, mib: u64) -> Option<String> {
    let shown = path.display();
    match rustix::fs::statvfs(path) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) >> 20 < mib => {
            Some(format!("less than {mib} MiB are free in {shown}: free space"))
        }
        Ok(_) => None,
        Err(error) => Some(format!("the disk of {shown} cannot be checked: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_space_and_a_missing_directory_are_reported_with_their_path() {
        let here = std::env::temp_dir();
        assert_eq!(lacking(&here, 0), None);
        assert!(lacking(&here, u64::MAX).unwrap().contains(here.to_str().unwrap()));
        assert!(lacking(&"/nonexistent".into(), 0).unwrap().contains("/nonexistent"));
    }
}
