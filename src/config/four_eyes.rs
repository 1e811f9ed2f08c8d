//! `[four_eyes]`: acts of administrators that need the approval of a second officer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::{Flaw, flaw};

/// Maximum time from a request to its end, in hours: a week.
const LONGEST_HOURS: u32 = 168;

/// An act of administrators that may need the approval of a second officer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GuardedAct {
    /// A key is destroyed.
    KeyDestroy,
    /// A backup of a key is restored into a token.
    KeyRestore,
    /// A key that was not generated in the token is imported.
    KeyImport,
    /// Entries of the trust file are added or removed.
    TrustChange,
    /// Grants are added or revoked.
    GrantChange,
    /// A completed stop may run once more.
    AllowAgain,
    /// Another file of officers takes effect.
    OfficersChange,
}

impl GuardedAct {
    /// Returns the act's name in the configuration and in requests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyDestroy => "key-destroy",
            Self::KeyRestore => "key-restore",
            Self::KeyImport => "key-import",
            Self::TrustChange => "trust-change",
            Self::GrantChange => "grant-change",
            Self::AllowAgain => "allow-again",
            Self::OfficersChange => "officers-change",
        }
    }
}

/// `[four_eyes]`: acts that need the approval of a second officer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FourEyesConfig {
    /// The acts; by default none.
    pub acts: Vec<GuardedAct>,
    /// The file with the officers' names and public keys.
    pub officers: Option<PathBuf>,
    /// How long a request is valid, in hours.
    pub expires_hours: u32,
}

impl Default for FourEyesConfig {
    fn default() -> Self {
        Self { acts: Vec::new(), officers: None, expires_hours: 24 }
    }
}

impl FourEyesConfig {
    /// Returns whether an act needs the approval of a second officer.
    #[must_use]
    pub fn guards(&self, act: GuardedAct) -> bool {
        self.acts.contains(&act)
    }

    pub(super) fn check(&self) -> Result<(), Flaw> {
        if !self.acts.is_empty() && self.officers.is_none() {
            return Err(flaw(
                "four_eyes.officers",
                "is required, because `acts` names acts that a second officer approves",
                "name the file with the officers' public keys (docs/four-eyes.md)",
            ));
        }
        if !(1..=LONGEST_HOURS).contains(&self.expires_hours) {
            return Err(flaw(
                "four_eyes.expires_hours",
                format!("must be 1 to {LONGEST_HOURS}"),
                "24 gives a second officer one day",
            ));
        }
        Ok(())
    }
}
