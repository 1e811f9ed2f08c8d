//! Checks of a station, one function for each fact: `config check` and `doctor` show the same findings, and the service's own checks (health, the
//! start) are what they call.

pub mod certificate;
pub mod engine;
pub mod files;
pub mod host;
pub mod state;
pub mod token;

use serde_json::{Value, json};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// Usable.
    Usable,
    /// Usable, but something should be done.
    Warned,
    /// It does not exist, and need not exist yet.
    NotYet,
    /// Not checked, because an earlier failure has to be corrected first.
    Skipped,
    /// The service cannot use it.
    Wrong,
}

impl CheckState {
    /// Returns the state's name in the output of `config check`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Usable => "ok",
            Self::Warned => "warning",
            Self::NotYet => "not yet",
            Self::Skipped => "skipped",
            Self::Wrong => "wrong",
        }
    }
}

/// A checked item, with those below it.
#[derive(Clone, Debug)]
pub struct CheckNode {
    /// The item's kind: `Module`.
    pub what: &'static str,
    /// Which one, if there may be several: a token's or a key's label.
    pub subject: Option<String>,
    /// The result of this item's own check.
    pub state: CheckState,
    /// What was found: the cause, if something is wrong.
    pub note: String,
    /// What mends it, with the command.
    pub remedy: Option<String>,
    /// The items below it.
    pub below: Vec<CheckNode>,
}

impl CheckNode {
    pub(crate) fn new(what: &'static str, state: CheckState, note: impl Into<String>) -> Self {
        Self { what, subject: None, state, note: note.into(), remedy: None, below: Vec::new() }
    }

    /// Returns an item that was not checked because of another one.
    pub(crate) fn skipped(what: &'static str, because: impl Into<String>) -> Self {
        Self::new(what, CheckState::Skipped, because)
    }

    /// Returns an item that only groups others.
    pub(crate) fn group(what: &'static str, below: Vec<CheckNode>) -> Self {
        Self { below, ..Self::new(what, CheckState::Usable, "") }
    }

    pub(crate) fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Returns what was found with its remedy.
    #[must_use]
    pub fn in_full(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}: {remedy}", self.note),
            None => self.note.clone(),
        }
    }

    /// Returns whether this item, or one below it, cannot be used.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.state == CheckState::Wrong || self.below.iter().any(Self::fails)
    }

    /// Returns whether this item, or one below it, has a warning.
    #[must_use]
    pub fn warns(&self) -> bool {
        matches!(self.state, CheckState::Warned | CheckState::NotYet) || self.below.iter().any(Self::warns)
    }

    /// Returns the item as an object of `config check`.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "what": self.what, "state": self.state.name(), "note": self.in_full() })
    }
}
