//! What is measured of a train or an image, by its name in tables.

/// The step before a run.
pub const PRE: &str = "pre-run";
/// Keeps a run's outcome by committing the container.
pub const COMMITTED: &str = "keep (commit)";
/// Keeps a run's outcome by copying three paths onto the train's base, and committing that.
pub const CARRIED: &str = "keep (carry)";
/// The step after a run.
pub const POST: &str = "post-run";
/// All of a measurement that has no steps.
pub const WHOLE: &str = "whole";
