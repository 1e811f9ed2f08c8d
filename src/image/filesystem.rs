//! File systems that layers make: changesets, their overlay, entries that engines apply in different ways, and the tree digest.

pub mod ambiguity;
pub mod canonical;
pub mod layers;
pub mod overlay;
pub mod tree_digest;
