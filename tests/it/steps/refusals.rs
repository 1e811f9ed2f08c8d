//! What bad input gets: one clear refusal, names as they were, nothing left behind, and the next call works.

mod after_run;
mod disks;
mod faults;
mod forged;
mod misshapen;
mod untold;

pub use self::forged::{second_stop, wrap, wrap_oddly};
