//! `[trust]` and `[rules]`: whom a station believes, and what it holds trains to.

use std::path::PathBuf;

use serde::Deserialize;

use super::check::{Flaw, flaw};
use crate::{
    train::rule::{Enforcement, Rule, RuleSet},
    trust::TrustMode,
};

/// `[trust]`: whom the station believes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// How it comes to believe a key.
    pub mode: TrustMode,
    /// The officer's trust file; `trust.toml` beside the configuration when it is not named.
    pub file: Option<PathBuf>,
}

/// `[rules]`: what trains are held to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Strict rules that are not held against trains, by name.
    pub relax: Vec<String>,
    /// Optional rules that are, by name.
    pub demand: Vec<String>,
    /// What becomes of immutable files that are not listed.
    pub unlisted: Unlisted,
    /// Names directly below `/opt` that a train may have besides its own and its base's.
    pub opt_allow: Vec<String>,
}

/// What becomes of immutable files that `file_list` does not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlisted {
    /// They are left out, with a warning: honest runs leave `__pycache__`.
    #[default]
    Drop,
    /// The train is refused.
    Refuse,
}

impl Rules {
    /// The rules as a set. Total once the configuration has been checked.
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
                        Some(_) => format!("{name:?} cannot be switched here"),
                        None => format!("no rule is called {name:?}"),
                    };
                    return Err(flaw(key, text, format!("here may be named: {}", may.join(", "))));
                }
            }
        }
        let plain = |name: &String| {
            !name.is_empty() && name != "." && name != ".." && !name.contains('/') && !name.chars().any(char::is_control)
        };
        match self.opt_allow.iter().find(|name| !plain(name)) {
            Some(name) => Err(flaw("rules.opt_allow", format!("{name:?} is no name"), "name entries directly below /opt")),
            None => Ok(()),
        }
    }
}
