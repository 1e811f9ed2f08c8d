//! Collects the changes that an image's layers make to `/opt`.

use crate::{
    ImageError,
    archive::memory_budget::Share,
    filesystem::changeset::{ByLayer, Change, add_change},
    opt::reader::ENTRY_LIMIT,
    tar::{entry::plain_path, reader::TarEntry},
};

/// Changes of layers to `/opt`, with limits on their number and memory.
pub(super) struct LayerChanges<'a, N> {
    /// Called for every entry; an error of it ends the reading.
    check: &'a dyn Fn() -> Result<(), ImageError>,
    /// Changes by the layer's name.
    pub changes: ByLayer<N>,
    /// Number of changes so far, all layers together.
    entries: u64,
    /// Memory of the changes, counted in the budget.
    pub share: Share,
}

impl<'a, N> LayerChanges<'a, N> {
    /// Creates an empty set; `check` is called for every entry of a layer.
    pub(super) fn new(check: &'a dyn Fn() -> Result<(), ImageError>) -> Self {
        Self { check, changes: ByLayer::new(), entries: 0, share: Share::default() }
    }

    /// Adds an entry of a layer. `read` returns the node of an entry at or below `/opt`, given its plain path.
    pub(super) fn add(
        &mut self,
        layer: &str,
        entry: &TarEntry,
        read: impl FnOnce(&[u8]) -> Result<N, ImageError>,
    ) -> Result<(), ImageError> {
        (self.check)()?;
        let Some(path) = plain_path(&entry.path)? else { return Ok(()) };
        let by_name = Change::by_name(&path);
        let has_effect = match &by_name {
            None => is_in_opt(&path),
            Some(Change::Remove(gone) | Change::Opaque(gone)) => gone.is_empty() || is_in_opt(gone),
            Some(_) => false,
        };
        if !has_effect {
            return Ok(());
        }
        self.entries += 1;
        if self.entries > ENTRY_LIMIT {
            return Err(ImageError::Limit("entries of /opt"));
        }
        self.share.entry::<Change<N>>(path.len())?;
        let change = match by_name {
            Some(change) => change,
            None => {
                let node = read(&path)?;
                Change::Set(path, node)
            }
        };
        add_change(&mut self.changes, layer, change);
        Ok(())
    }
}

/// Whether a plain path is `/opt` or below it.
fn is_in_opt(path: &[u8]) -> bool {
    path.strip_prefix(b"opt").is_some_and(|rest| rest.first().is_none_or(|next| *next == b'/'))
}
