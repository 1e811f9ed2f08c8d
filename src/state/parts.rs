//! Checks that the parts of a state directory belong together: that none was lost, or replaced by that of another directory or time.
//!
//! The rule: *the ledger records which other parts exist, and each other part shows that there was a ledger.* A part that is missing,
//! empty or not the one that the ledger knows, while another part shows that it existed, is refused; it is never created again
//! implicitly. Either it is restored, or an administrator declares it lost, with a reason that is recorded
//! ([`accept_loss`](super::accept_loss())).
//!
//! | part | shown by | lost with it |
//! |---|---|---|
//! | `ledger.sqlite` | the instance's id, the service's audit log and its archive, the keys seen first; an older ledger: the runs that the audit log names (`ledger_age.rs`) | which trains ran: they could run again |
//! | `instance` | the ledger, which has the same id | objects of this service in the engine are no longer found |
//! | the service's audit log | the ledger | the records |
//! | `first-seen.toml` | the ledger | the keys pinned at first use: every id would be new |
//! | `key-states.toml` | the ledger | which train keys are retired: all would be active |
//! | the station's id | the ledger | a ledger belongs to one station: under another id its trains could run again |

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use stationmaster_system::files::Directory;

use super::{FIRST_SEEN, INSTANCE, KEY_STATES, LEDGER, Part, StateError};
use crate::{
    audit::{SERVICE, log_in},
    ledger::{Ledger, LogOf, UPGRADED},
};

/// Maximum length of an id that is read, in bytes.
const ID_LIMIT: u64 = 128;
/// Value of the fact that marks a lost part in the ledger until the part exists again.
pub(super) const LOST: &str = "lost";
/// The fact that the directory is new: no part is missing before all of them were created.
pub(super) const BEGINNING: &str = "beginning";

/// Locations of the parts.
#[derive(Clone, Debug)]
pub struct StateParts {
    pub(super) directory: PathBuf,
    pub(super) audit: PathBuf,
    archive: Option<PathBuf>,
    station: Option<String>,
}

impl StateParts {
    /// Returns the parts in a state directory; `audit` is the directory of its audit logs, `station` the id, if it is known.
    #[must_use]
    pub fn new(directory: &Path, audit: &Path, station: Option<&str>) -> Self {
        Self { directory: directory.to_owned(), audit: audit.join(SERVICE), archive: None, station: station.map(str::to_owned) }
    }

    /// Adds the directory to which old segments of the audit logs are moved.
    #[must_use]
    pub fn with_archive(self, archive: Option<&Path>) -> Self {
        Self { archive: archive.map(|archive| archive.join(SERVICE)), ..self }
    }

    /// Checks, before the ledger is opened (which would create one), that the ledger exists or nothing shows that it did.
    ///
    /// # Errors
    /// When it is missing or empty while other parts exist.
    pub fn check_files(&self) -> Result<(), StateError> {
        let file = self.directory.join(LEDGER);
        let exists = fs::metadata(&file).is_ok_and(|found| found.len() > 0);
        if exists { Ok(()) } else { self.check_never_existed(&file) }
    }

    /// Checks, once the ledger is open, that the parts it knows exist and belong to it.
    ///
    /// # Errors
    /// When a part is missing, empty or not the one that the ledger knows.
    pub async fn check(&self, ledger: &Ledger) -> Result<(), StateError> {
        let facts = ledger.facts().await?;
        let stations = ledger.stations().await?;
        self.check_station(&facts, &stations)?;
        if facts.is_empty() {
            self.check_never_existed(&self.directory.join(LEDGER))?;
            ledger.keep_fact(BEGINNING, "yes").await?;
            return Ok(());
        }
        self.check_instance(&facts, !stations.is_empty())?;
        let is_begun = self.audit_is_begun();
        let was_begun = facts.contains_key(Part::Audit.name()) || ledger.remembered_audit(LogOf::Service).await?.is_some();
        if was_begun && !is_begun && !is_lost(&facts, Part::Audit) {
            return Err(missing(Part::Audit, &self.audit, "the ledger"));
        }
        for (part, name) in [(Part::FirstSeen, FIRST_SEEN), (Part::KeyStates, KEY_STATES)] {
            let file = self.directory.join(name);
            if facts.contains_key(part.name()) && !is_lost(&facts, part) && !is_filled(&file) {
                return Err(missing(part, &file, "the ledger"));
            }
        }
        Ok(())
    }

    /// Records in the ledger which parts exist, once all of them exist.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn record_in(&self, ledger: &Ledger) -> Result<(), StateError> {
        if let Some(id) = read_id(&self.directory.join(INSTANCE)) {
            ledger.keep_fact(Part::Instance.name(), &id).await?;
        }
        if let Some(station) = &self.station {
            ledger.keep_fact(Part::Station.name(), station).await?;
        }
        if self.audit_is_begun() {
            ledger.keep_fact(Part::Audit.name(), "begun").await?;
            if let Some(log) = log_in(&self.audit)? {
                ledger.forget_other_audits(LogOf::Service, &log).await?;
            }
        }
        for (part, name) in [(Part::FirstSeen, FIRST_SEEN), (Part::KeyStates, KEY_STATES)] {
            if is_filled(&self.directory.join(name)) {
                ledger.keep_fact(part.name(), "there").await?;
            }
        }
        ledger.drop_fact(BEGINNING).await?;
        Ok(ledger.drop_fact(UPGRADED).await?)
    }

    fn check_station(&self, facts: &BTreeMap<String, String>, stations: &[String]) -> Result<(), StateError> {
        let Some(own) = &self.station else { return Ok(()) };
        let other = match facts.get(Part::Station.name()) {
            Some(lost) if lost == LOST => None,
            Some(known) => Some(known).filter(|known| *known != own),
            None => stations.first().filter(|_| !stations.contains(own)),
        };
        match other {
            None => Ok(()),
            Some(known) => Err(StateError::Mismatch {
                part: Part::Station,
                path: self.directory.clone(),
                what: format!("it belongs to the station {known:?}, and this station is {own:?}"),
            }),
        }
    }

    pub(super) fn check_instance(&self, facts: &BTreeMap<String, String>, has_runs: bool) -> Result<(), StateError> {
        let file = self.directory.join(INSTANCE);
        let known = facts.get(Part::Instance.name());
        match (known, read_id(&file)) {
            (Some(known), _) if known == LOST => Ok(()),
            (Some(_), None) => Err(missing(Part::Instance, &file, "the ledger")),
            (None, None) if has_runs => Err(missing(Part::Instance, &file, "the ledger, which has runs,")),
            (Some(known), Some(id)) if *known != id => Err(StateError::Mismatch {
                part: Part::Instance,
                path: file,
                what: format!("it is {id}, and the ledger expects {known}"),
            }),
            _ => Ok(()),
        }
    }

    /// Checks that no other part shows that a ledger existed.
    fn check_never_existed(&self, ledger: &Path) -> Result<(), StateError> {
        let shown_by = if is_filled(&self.directory.join(INSTANCE)) {
            "the instance's id"
        } else if self.audit.exists() {
            // The service creates the directory after its ledger, so the directory is evidence even when its segments are missing.
            "the service's audit"
        } else if self.archive.as_deref().is_some_and(has_segments) {
            "the archive of the service's audit"
        } else if is_filled(&self.directory.join(FIRST_SEEN)) {
            "the keys that were seen first"
        } else {
            return Ok(());
        };
        Err(missing(Part::Ledger, ledger, shown_by))
    }

    pub(super) fn audit_is_begun(&self) -> bool {
        has_segments(&self.audit)
    }
}

pub(super) fn missing(part: Part, path: &Path, shown_by: &str) -> StateError {
    StateError::Missing { part, path: path.to_owned(), shown_by: shown_by.to_owned() }
}

pub(super) fn is_lost(facts: &BTreeMap<String, String>, part: Part) -> bool {
    facts.get(part.name()).is_some_and(|value| value == LOST)
}

fn has_segments(log: &Path) -> bool {
    let Ok(entries) = fs::read_dir(log) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        Path::new(&name).extension().is_some_and(|end| end == "jsonl") && entry.metadata().is_ok_and(|file| file.len() > 0)
    })
}

pub(super) fn is_filled(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() > 0)
}

/// Returns the id in a file. No link is followed: the id is shown, and the service's user could have put a link there to a file
/// that only root can read.
pub(super) fn read_id(file: &Path) -> Option<String> {
    let (directory, name) = Directory::of_file(file).ok()?;
    let mut id = String::new();
    directory.open_file(name).ok()?.take(ID_LIMIT).read_to_string(&mut id).ok()?;
    let id = id.trim().to_owned();
    (!id.is_empty()).then_some(id)
}
