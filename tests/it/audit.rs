//! Everything leaves evidence, and the evidence shows when it was changed.

mod administrators;
mod bounds;
pub mod evidence;
mod kills;
mod order;
mod space;
mod tampered;
mod unsigned;
mod verdicts;
