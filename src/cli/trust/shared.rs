//! Finds keys that a trust file has under several ids.

use std::collections::BTreeMap;

use crate::{
    cli::output::printable,
    trust::{Kind, TrustStore},
};

/// What is said of each key that several entries have. Where one signs as the other, a train's route does not tell who did.
pub(super) fn warnings(store: &TrustStore) -> Vec<String> {
    let mut names = BTreeMap::<String, Vec<String>>::new();
    for kind in [Kind::Creator, Kind::Station] {
        for pin in store.pins(kind) {
            names.entry(pin.key.fingerprint()).or_default().push(format!("{} {}", kind.name(), printable(&pin.id)));
        }
    }
    let several = names.into_iter().filter(|(_, names)| names.len() > 1);
    several
        .map(|(fingerprint, names)| {
            format!(
                "one key, {fingerprint}, has {} names: {}. Each can sign as the other; was a file given twice? `trust remove` takes a name away",
                names.len(),
                names.join(", ")
            )
        })
        .collect()
}

/// The same, of the keys of these fingerprints alone.
pub(super) fn warnings_of(store: &TrustStore, fingerprints: &[String]) -> Vec<String> {
    let of_these = |warning: &String| fingerprints.iter().any(|fingerprint| warning.contains(fingerprint.as_str()));
    warnings(store).into_iter().filter(of_these).collect()
}

/// As they are shown below a table.
pub(super) fn told(warnings: &[String]) -> String {
    warnings.iter().map(|warning| format!("warning: {warning}\n")).collect()
}
