//! Refusals for overload: the limit that was reached, its owner, and the setting that defines it.

use super::{Reason, Refusal};
use crate::service::shares::Full;

impl Refusal {
    /// Makes the refusal for a pool without a place for a principal. `own` and `all` are the settings, by section and key, of
    /// one principal's places and of all.
    #[must_use]
    pub fn full(principal: &str, full: Full, own: &str, all: &str) -> Self {
        match full {
            Full::Own(places) => {
                let text = format!("{principal} holds all {places} places that one principal may have of {}", setting(own));
                Reason::Overloaded.status(text).of_principal(own, principal)
            }
            Full::All(places) => Reason::Overloaded
                .status(format!("all callers together hold all {places} places of {}", setting(all)))
                .with_meta("limit", all)
                .with_meta("of", "service"),
        }
    }

    /// Makes the refusal for a principal whose calls per second exceed `limit`, the setting's value.
    #[must_use]
    pub fn too_often(principal: &str, name: &str, limit: u32) -> Self {
        let text = format!("{principal} calls more often in a second than {} = {limit} allows", setting(name));
        Reason::Overloaded.status(text).of_principal(name, principal)
    }

    fn of_principal(self, limit: &str, principal: &str) -> Self {
        self.with_meta("limit", limit).with_meta("of", "principal").with_meta("principal", principal)
    }
}

/// Returns a setting as it is written in the configuration file.
fn setting(name: &str) -> String {
    name.split_once('.').map_or_else(|| name.to_owned(), |(section, key)| format!("[{section}] {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_is_refused_with_the_limit_and_whose_it_is() {
        let own = Refusal::full("unix:uid=7", Full::Own(3), "limits.runs", "limits.runs");
        assert_eq!(own.message, "unix:uid=7 holds all 3 places that one principal may have of [limits] runs");
        assert_eq!((own.metadata["limit"].as_str(), own.metadata["of"].as_str()), ("limits.runs", "principal"));
        let all = Refusal::full("unix:uid=7", Full::All(4), "limits.principal_requests", "limits.requests");
        assert_eq!((all.metadata["limit"].as_str(), all.metadata["of"].as_str()), ("limits.requests", "service"));
        assert!(!all.message.contains("uid"), "{}", all.message);
    }
}
