//! Finds keys that a trust file has under several ids.

use std::collections::BTreeMap;

use crate::{
    cli::output::printable,
    trust::{OwnerKind, TrustStore},
};

/// Returns a warning for each key that several entries have: a train's route does not show which of them signed.
pub(super) fn warnings(store: &TrustStore) -> Vec<String> {
    let mut names = BTreeMap::<String, Vec<String>>::new();
    for kind in [OwnerKind::Creator, OwnerKind::Station] {
        for pin in store.pins(kind) {
            names.entry(pin.key.fingerprint()).or_default().push(format!("{} {}", kind.name(), printable(&pin.id)));
        }
    }
    let several = names.into_iter().filter(|(_, names)| names.len() > 1);
    several
        .map(|(fingerprint, names)| {
            format!(
                "one key, {fingerprint}, has {} names: {}. Each can sign as the other; check whether a file was used twice. `trust remove` removes a name",
                names.len(),
                names.join(", ")
            )
        })
        .collect()
}

/// The same, for the keys with these fingerprints only.
pub(super) fn warnings_of(store: &TrustStore, fingerprints: &[String]) -> Vec<String> {
    let of_these = |warning: &String| fingerprints.iter().any(|fingerprint| warning.contains(fingerprint.as_str()));
    warnings(store).into_iter().filter(of_these).collect()
}

/// Formats warnings for the end of a table.
pub(super) fn lines(warnings: &[String]) -> String {
    warnings.iter().map(|warning| format!("warning: {warning}\n")).collect()
}
