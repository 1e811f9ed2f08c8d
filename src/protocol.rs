//! The steps: what a station does with a train. Plain synchronous code on a blocking thread.
//!
//! A step reads an image once into a spool of ciphertext, believes nothing before [`verify`] has made it [`verify::Verified`],
//! writes a new image only from what was verified, and moves the name last. Every intent is in the ledger before the engine
//! or the token is touched, so [`recover`] can finish or roll back what a crash cut off.

mod abort;
mod contents;
mod crash;
mod error;
mod hash_image;
mod hashing;
mod inspect;
mod open;
mod opened;
mod post_run;
mod pre_run;
pub mod recover;
mod seal;
mod station;
mod unwrapped;
mod verify;
mod write_opened;

pub use abort::{AbortAnswer, abort_run};
pub use error::StepError;
pub use hash_image::{ImageDigests, TrainAbsent, TrainDigests, hash_image};
pub use inspect::{Inspection, ListedFile, inspect_train};
pub use opened::{Mount, MountSource};
pub use post_run::{PostRunAnswer, PostRunOrder, post_run};
pub use pre_run::{PreRunAnswer, PreRunOrder, pre_run};
pub use station::{Compat, Station, Step};
