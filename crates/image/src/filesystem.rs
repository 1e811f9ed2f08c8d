//! File trees made by image layers: changesets, their overlay, ambiguous entries, and the tree digest.

pub mod ambiguity;
pub mod canonical;
pub mod changeset;
pub mod layers;
pub mod overlay;
pub mod tree_digest;
