//! What the operating system gives to the other crates: files by descriptor, protected memory, crash points.
//!
//! The crate knows neither trains nor images nor keys.

pub mod child;
pub mod failpoint;
pub mod files;
pub mod memory;
pub mod sandbox;
