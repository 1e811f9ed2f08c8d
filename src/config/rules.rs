//! `[trust]` and `[rules]`: the keys that a station trusts, and the rules for trains.

use std::path::PathBuf;

use serde::Deserialize;
use stationmaster_train::rule::{Enforcement, Rule, RuleSet};

use super::check::{Flaw, flaw};
use crate::trust::TrustMode;

/// `[trust]`: the keys that the station trusts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// How the station decides which keys to trust.
    pub mode: TrustMode,
    /// The administrator's trust file; by default `trust.toml` in the configuration's directory.
    pub file: Option<PathBuf>,
}

/// `[rules]`: the rules for trains.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Strict rules that are not enforced, by name.
    pub relax: Vec<String>,
    /// Optional rules that are enforced, by name.
    pub demand: Vec<String>,
    /// How immutable files that are not listed are handled.
    pub unlisted: Unlisted,
    /// Names directly below `/opt` that a train may have in addition to its own and those of its base.
    pub opt_allow: Vec<String>,
}

/// How immutable files that `file_list` does not name are handled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlisted {
    /// They are dropped with a warning: honest runs leave `__pycache__`.
    #[default]
    Drop,
    /// The train is refused.
    Refuse,
}

impl Rules {
    /// Returns the rules as a set. Complete once the configuration has been checked.
    #[must_use]
    pub fn set(&self) -> RuleSet {
        let named = |names: &[String]| names.iter().filter_map(|name| Rule::from_name(name)).collect::<Vec<_>>();
        RuleSet::new(&named(&self.relax), &named(&self.demand)).unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), Flaw> {
        for (key, names, standing) in
            [("rules.relax", &self.relax, Enforcement::Strict), ("rules.demand", &self.demand, Enforcement::Optional)]
        {
            for name in names {
                if Rule::from_name(name).is_none_or(|rule| rule.standing() != standing) {
                    let may: Vec<_> =
                        Rule::ALL.iter().filter(|rule| rule.standing() == standing).map(|rule| rule.name()).collect();
                    let text = match Rule::from_name(name) {
                        Some(_) => format!("{name:?} cannot be set here"),
                        None => format!("there is no rule {name:?}"),
                    };
                    return Err(flaw(key, text, format!("allowed here: {}", may.join(", "))));
                }
            }
        }
        let plain = |name: &String| {
            !name.is_empty() && name != "." && name != ".." && !name.contains('/') && !name.chars().any(char::is_control)
        };
        match self.opt_allow.iter().find(|name| !plain(name)) {
            Some(name) => {
                Err(flaw("rules.opt_allow", format!("{name:?} is not a file name"), "name entries directly below /opt"))
            }
            None => Ok(()),
        }
    }
}
