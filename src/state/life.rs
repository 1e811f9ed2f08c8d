//! Checks that the parts of a state directory belong to one life, i.e. that none was lost or exchanged.
//!
//! The rule: *the ledger knows what exists beside it, and what exists beside it shows that there was a ledger.* A part that is missing,
//! empty or of another life, while another part shows that it existed, is refused; it is never created anew implicitly. Either it is
//! restored, or an administrator states, with a reason that is recorded, that it is lost for good ([`accept_loss`]).
//!
//! | part | shown by | lost with it |
//! |---|---|---|
//! | `ledger.sqlite` | the instance's id, the service's audit and its archive, the keys seen first; an older one: the runs that the audit names (`behind.rs`) | which trains ran: they would run once more |
//! | `instance` | the ledger, which has the same id | what the engine holds of this service is no longer found |
//! | the service's audit | the ledger | the record of what was done |
//! | `first-seen.toml` | the ledger | the keys pinned at first sight: every id would be new |
//! | the station's id | the ledger | a ledger is one station's: under another id its trains would run once more |

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use stationmaster_system::files::input;

use super::{FIRST_SEEN, INSTANCE, LEDGER, StateError, behind::take_audit_as_it_is};
use crate::{
    audit::{SERVICE, log_in},
    ledger::{Ledger, LogOf, UPGRADED},
};

/// Marks a lost part in the ledger until the part exists again.
pub(super) const LOST: &str = "lost";
/// The fact that this life begins: nothing is missed before all parts exist.
const BEGINNING: &str = "beginning";

/// A part of a state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ledger.
    Ledger,
    /// The instance's id.
    Instance,
    /// The service's audit log.
    Audit,
    /// Keys that were pinned at first sight.
    FirstSeen,
    /// The id of the station that the directory belongs to.
    Station,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 5] = [Self::Ledger, Self::Instance, Self::Audit, Self::FirstSeen, Self::Station];

    /// Returns the part's name in the ledger and in commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Instance => "instance",
            Self::Audit => "audit",
            Self::FirstSeen => "first-seen",
            Self::Station => "station",
        }
    }

    /// Returns what a station loses with the part.
    #[must_use]
    pub fn loss(self) -> &'static str {
        match self {
            Self::Ledger => {
                "trains that were finished here, and are not in the ledger, are opened once more, and open runs are forgotten"
            }
            Self::Instance => "containers and volumes in the engine that carry the old id are no longer found",
            Self::Audit => "the record of what was done until now is gone, and a new log begins",
            Self::FirstSeen => "every creator and station is new again, and believed at first sight",
            Self::Station => "runs of the other id no longer keep a train from running here",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Locations of the parts.
#[derive(Clone, Debug)]
pub struct Life {
    directory: PathBuf,
    pub(super) audit: PathBuf,
    archive: Option<PathBuf>,
    station: Option<String>,
}

impl Life {
    /// Takes a state directory, the directory of its audit logs, and the station, if it is known.
    #[must_use]
    pub fn of(directory: &Path, audit: &Path, station: Option<&str>) -> Self {
        Self { directory: directory.to_owned(), audit: audit.join(SERVICE), archive: None, station: station.map(str::to_owned) }
    }

    /// Adds the directory to which old segments of the audit logs are moved.
    #[must_use]
    pub fn with_archive(self, archive: Option<&Path>) -> Self {
        Self { archive: archive.map(|archive| archive.join(SERVICE)), ..self }
    }

    /// Checks, before the ledger is opened (which would create one), whether there was one.
    ///
    /// # Errors
    /// When it is missing or empty while other parts exist.
    pub fn check_files(&self) -> Result<(), StateError> {
        let file = self.directory.join(LEDGER);
        let is_there = fs::metadata(&file).is_ok_and(|found| found.len() > 0);
        if is_there { Ok(()) } else { self.no_neighbour_of_the_ledger(&file) }
    }

    /// Checks, once the ledger is open, that the parts it knows exist and belong to it.
    ///
    /// # Errors
    /// When a part is missing, empty or of another life.
    pub async fn check(&self, ledger: &Ledger) -> Result<(), StateError> {
        let facts = ledger.facts().await?;
        let stations = ledger.stations().await?;
        self.check_station(&facts, &stations)?;
        if facts.is_empty() {
            self.no_neighbour_of_the_ledger(&self.directory.join(LEDGER))?;
            ledger.keep_fact(BEGINNING, "yes").await?;
            return Ok(());
        }
        self.check_instance(&facts, !stations.is_empty())?;
        let is_begun = self.audit_is_begun();
        let was_begun = facts.contains_key(Part::Audit.name()) || ledger.remembered_audit(LogOf::Service).await?.is_some();
        if was_begun && !is_begun && !is_lost(&facts, Part::Audit) {
            return Err(missing(Part::Audit, &self.audit, "the ledger"));
        }
        let first_seen = self.directory.join(FIRST_SEEN);
        if facts.contains_key(Part::FirstSeen.name()) && !is_lost(&facts, Part::FirstSeen) && !is_filled(&first_seen) {
            return Err(missing(Part::FirstSeen, &first_seen, "the ledger"));
        }
        Ok(())
    }

    /// Stores in the ledger which parts exist, once all of them exist.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn keep(&self, ledger: &Ledger) -> Result<(), StateError> {
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
        if is_filled(&self.directory.join(FIRST_SEEN)) {
            ledger.keep_fact(Part::FirstSeen.name(), "there").await?;
        }
        ledger.drop_fact(BEGINNING).await?;
        Ok(ledger.drop_fact(UPGRADED).await?)
    }

    fn check_station(&self, facts: &BTreeMap<String, String>, stations: &[String]) -> Result<(), StateError> {
        let Some(ours) = &self.station else { return Ok(()) };
        let other = match facts.get(Part::Station.name()) {
            Some(lost) if lost == LOST => None,
            Some(known) => Some(known).filter(|known| *known != ours),
            None => stations.first().filter(|_| !stations.contains(ours)),
        };
        match other {
            None => Ok(()),
            Some(known) => Err(StateError::OtherLife {
                part: Part::Station,
                path: self.directory.clone(),
                what: format!("it belongs to the station {known:?}, and this one is {ours:?}"),
            }),
        }
    }

    fn check_instance(&self, facts: &BTreeMap<String, String>, has_runs: bool) -> Result<(), StateError> {
        let file = self.directory.join(INSTANCE);
        let known = facts.get(Part::Instance.name());
        match (known, read_id(&file)) {
            (Some(known), _) if known == LOST => Ok(()),
            (Some(_), None) => Err(missing(Part::Instance, &file, "the ledger")),
            (None, None) if has_runs => Err(missing(Part::Instance, &file, "the ledger, which has runs,")),
            (Some(known), Some(id)) if *known != id => Err(StateError::OtherLife {
                part: Part::Instance,
                path: file,
                what: format!("it is {id}, and the ledger is of {known}"),
            }),
            _ => Ok(()),
        }
    }

    fn no_neighbour_of_the_ledger(&self, ledger: &Path) -> Result<(), StateError> {
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

    fn audit_is_begun(&self) -> bool {
        has_segments(&self.audit)
    }
}

/// Continues without a part that is lost. The caller holds the directory's lock, and has recorded the decision. For [`Part::Ledger`] a
/// new ledger is created when there is none, and one that is older than the audit log is accepted as it is; an instance's id that the
/// ledger still knows is written back.
///
/// # Errors
/// When the part is not lost, or the ledger cannot be written.
pub async fn accept_loss(life: &Life, part: Part) -> Result<(), StateError> {
    if part == Part::Ledger {
        let ledger = Ledger::open(&life.directory.join(LEDGER)).await?;
        let begun = accept_ledger(life, &ledger).await;
        ledger.close().await;
        return begun;
    }
    let ledger = Ledger::attach(&life.directory.join(LEDGER)).await?;
    let accepted = accept_in(life, part, &ledger).await;
    ledger.close().await;
    accepted
}

async fn accept_ledger(life: &Life, ledger: &Ledger) -> Result<(), StateError> {
    if ledger.facts().await?.is_empty() {
        ledger.keep_fact(BEGINNING, "after its loss").await?;
    } else if !life.is_behind(ledger).await? {
        return Err(StateError::NotLost(Part::Ledger));
    }
    take_audit_as_it_is(ledger, &life.audit).await
}

async fn accept_in(life: &Life, part: Part, ledger: &Ledger) -> Result<(), StateError> {
    let facts = ledger.facts().await?;
    let is_there = match part {
        Part::Instance => life.check_instance(&facts, true).is_ok(),
        Part::Audit => life.audit_is_begun() && !matches!(life.remembered(ledger).await, Err(StateError::OtherLife { .. })),
        Part::FirstSeen => is_filled(&life.directory.join(FIRST_SEEN)) || !facts.contains_key(part.name()),
        Part::Ledger | Part::Station => false,
    };
    if is_there {
        return Err(StateError::NotLost(part));
    }
    let file = life.directory.join(INSTANCE);
    match facts.get(part.name()).filter(|_| part == Part::Instance && read_id(&file).is_none()) {
        Some(known) if known != LOST => {
            super::restore::write_owned(&life.directory, &file, known.as_bytes())?;
        }
        _ => ledger.keep_fact(part.name(), LOST).await?,
    }
    Ok(())
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

fn is_filled(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() > 0)
}

fn read_id(file: &Path) -> Option<String> {
    let id = input::read_text(file, 4096).ok()?.trim().to_owned();
    (!id.is_empty()).then_some(id)
}
