//! The grants of a running service: a file that is checked for changes at every call.

use std::path::Path;

use super::{AccessError, Grants, file};
use crate::watched_file::{Followed, Snapshot};

/// The grants in force. A change of the file takes effect at the next call.
#[derive(Debug)]
pub struct Access {
    file: Followed<Grants, AccessError>,
}

impl Access {
    /// Follows a file. Reads nothing yet.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self { file: Followed::new(file, file::parse, broken) }
    }

    /// Returns the present grants, and whether they are new: until that has been acknowledged.
    ///
    /// # Errors
    /// When there is no file, or it is unusable and never was usable: then all access is denied.
    pub async fn current(&self) -> Result<Snapshot<Grants>, AccessError> {
        self.file.look().await
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Notes that the grants of the file with this digest have been recorded.
    pub fn acknowledge(&self, digest: [u8; 32]) {
        self.file.acknowledge(digest);
    }
}

fn broken(error: &AccessError) {
    tracing::error!(%error, hint = error.hint(), "the access file is invalid: its previous contents stay in force");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::authz::{Principals, Rpc, current::*};

    fn may(access: &Access, rpc: Rpc) -> bool {
        access.file.look_blocking().is_ok_and(|look| look.value.decide(&Principals::of_socket(7, 7), rpc).is_some())
    }

    #[test]
    fn an_administrators_change_applies_at_once_and_a_broken_file_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.toml");
        let access = Access::new(&path);
        assert!(!may(&access, Rpc::PreRun), "nobody may anything without a file");
        let granting = |rpc: &str| format!("version = 1\n[[grant]]\nprincipal = \"unix:uid=7\"\nrpcs = [\"{rpc}\"]\n");
        for (rpc, other) in [(Rpc::PreRun, Rpc::PostRun), (Rpc::PostRun, Rpc::PreRun), (Rpc::PreRun, Rpc::PostRun)] {
            fs::write(&path, granting(rpc.name())).unwrap();
            let new = access.file.look_blocking().unwrap().new;
            assert_eq!(access.file.look_blocking().unwrap().new, new);
            access.acknowledge(new.expect("it is new"));
            assert!(access.file.look_blocking().unwrap().new.is_none());
            assert!(may(&access, rpc) && !may(&access, other));
        }
        fs::write(&path, "no TOML").unwrap();
        assert!(may(&access, Rpc::PreRun));
        for empty in ["", "\n", "# nothing\n\n", "version = 1\n"] {
            fs::write(&path, empty).unwrap();
            assert!(!may(&access, Rpc::PreRun), "{empty:?}");
            fs::write(&path, "no TOML").unwrap();
            assert!(!may(&access, Rpc::PreRun), "what was taken back stays so after {empty:?}");
            fs::write(&path, granting("PreRun")).unwrap();
            assert!(may(&access, Rpc::PreRun));
        }
        fs::remove_file(&path).unwrap();
        assert!(!may(&access, Rpc::PreRun));
    }
}
