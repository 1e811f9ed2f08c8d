//! Predicts the result of train_lib's `validate_train_image` (wire-format §10), for stations that want to compare it.
//!
//! train_lib reads only files named `…/layer.tar`, which engines from version 25 on do not write, and compares the list of content
//! digests for every path of any layer. It does not check types, link targets, modes, owners and the configuration.

use std::collections::BTreeMap;

use stationmaster_train::digest::Sha256Digest;

use crate::{
    ImageError,
    archive::{memory_budget::Share, reader::SavedImage},
    filesystem::{
        canonical::{Kind, Node},
        changeset::Change,
        layers::Layers,
    },
    oci::{
        image_config::HistoryEntry,
        whiteouts::{OPAQUE, WHITEOUT},
    },
};

/// Prefixes of names that are not compared.
const EXEMPT: [&[u8]; 5] = [b"opt/pht_results", b"opt/pht_train", b"opt/train_config.json", b"opt/user_sym_key.key", b"opt/.wh."];
/// A path's content digests in all layers, sorted.
type Entries = BTreeMap<Vec<u8>, Vec<Sha256Digest>>;

/// train_lib's view of an image.
#[derive(Debug, Default)]
pub struct Seen {
    /// Entries in all layers.
    entries: Entries,
    /// Memory of the entries, counted in the budget.
    _share: Share,
}

/// train_lib's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The image is accepted.
    Accepted,
    /// The image's history does not contain the master's.
    History,
    /// The files differ.
    Files,
}

impl Verdict {
    /// Returns the name used in responses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::History => "rejected: history",
            Self::Files => "rejected: files",
        }
    }
}

impl Seen {
    pub(super) fn of(layers: &Layers, image: &SavedImage) -> Result<Self, ImageError> {
        let (mut entries, mut share) = (Entries::new(), Share::default());
        if image.is_old_layout {
            // Each file once: a repeated layer is a link in the archive, which is read again.
            for name in &image.layers {
                for change in layers.changes.get(name).into_iter().flat_map(|changes| changes.iter()) {
                    let (path, content) = entry(change);
                    if !EXEMPT.iter().any(|exempt| path.starts_with(exempt)) {
                        share.entry::<(Vec<u8>, Vec<Sha256Digest>)>(path.len())?;
                        entries.entry(path).or_default().extend(content);
                    }
                }
            }
        }
        entries.values_mut().for_each(|list| list.sort_unstable());
        Ok(Self { entries, _share: share })
    }

    /// Compares an image's history and files with the master's.
    #[must_use]
    pub fn verdict(master: (&[HistoryEntry], &Self), image: (&[HistoryEntry], &Self)) -> Verdict {
        let same = |one: &HistoryEntry, other: &HistoryEntry| {
            (one.created, &one.created_by, one.size) == (other.created, &other.created_by, other.size)
        };
        if !master.0.iter().all(|entry| image.0.iter().any(|other| same(entry, other))) {
            Verdict::History
        } else if master.1.entries != image.1.entries {
            Verdict::Files
        } else {
            Verdict::Accepted
        }
    }
}

/// Returns a layer's entry as stored in the archive, with its content if it is a regular file.
fn entry(change: &Change<Node>) -> (Vec<u8>, Option<Sha256Digest>) {
    let mark = |path: &[u8]| {
        let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        [&path[..at], WHITEOUT.as_bytes(), &path[at..]].concat()
    };
    // Whiteouts are empty files.
    let empty = || Some(Sha256Digest::of(b""));
    match change {
        Change::Set(path, node) => match node.kind {
            Kind::File(digest, _) => (path.clone(), Some(digest)),
            _ => (path.clone(), None),
        },
        Change::HardLink(path, ..) => (path.clone(), None),
        Change::Remove(path) => (mark(path), empty()),
        Change::Opaque(path) => ([path.as_slice(), b"/", OPAQUE.as_bytes()].concat(), empty()),
    }
}
