//! Everything leaves evidence, and the evidence shows when it was changed.

mod administrators;
mod bounds;
mod curve_notes;
pub mod evidence;
mod kills;
mod order;
mod space;
mod tampered;
mod unsigned;
mod verdicts;
