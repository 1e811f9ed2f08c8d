//! Positions of the administrators' log, as the service's log records them.

use super::Head;
use crate::audit::{Entry, bound::shorten};

/// The last recorded position.
#[derive(Clone, Debug, Default)]
pub(super) struct AdministratorsPosition {
    pub last: Option<(String, Head)>,
}

impl AdministratorsPosition {
    /// Reads the position from a record.
    pub(super) fn update(&mut self, entry: &Entry) -> Result<(), String> {
        let text = |name: &str| entry.about.get(name).and_then(|value| value.as_str());
        let now = match (text("log"), text("head").map(str::parse::<Head>)) {
            (Some(log), Some(Ok(head))) => Some((log.chars().take(64).collect::<String>(), head)),
            _ => None,
        };
        let before = std::mem::replace(&mut self.last, now.clone());
        if entry.outcome.as_deref() != Some("ok") {
            let mut detail = entry.detail.clone().unwrap_or_default();
            shorten(&mut detail, 1024);
            return Err(format!("the administrators' log was not what the service had seen before: {detail}"));
        }
        let Some((log, head)) = now else {
            return Err("it does not contain the position of the administrators' log".to_owned());
        };
        match before {
            Some((other, known)) if other != log || known.size > head.size => {
                Err(format!("the administrators' log was another, or had fewer than the {} records seen before", known.size))
            }
            _ => Ok(()),
        }
    }
}
