//! Everything leaves evidence, and the evidence shows when it was changed.

pub mod evidence;
mod kills;
mod order;
mod tampered;
