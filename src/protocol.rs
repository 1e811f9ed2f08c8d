//! The steps: what a station does with a train. Plain synchronous code on a blocking thread.
//!
//! A step reads an image once into a spool of ciphertext, believes nothing before [`verify`] has made it [`verify::Verified`],
//! writes a new image only from what was verified, and moves the name last. Every intent is in the ledger before the engine
//! or the token is touched, so [`recover`] can finish or roll back what a crash cut off.

mod abort;
mod admitted;
mod audited_keys;
mod base_layers;
mod caller;
mod check_push;
mod contents;
mod creator;
mod error;
mod hash_image;
mod hashing;
mod inspect;
mod open;
mod open_results;
mod opened;
mod opt_names;
mod policy;
mod post_run;
mod pre_run;
mod raw_key;
pub mod recover;
mod report;
mod seal;
mod sessions;
mod station;
mod strangers;
mod unwrapped;
mod validate_image;
mod verify;
mod verify_train;
mod write_opened;

pub use abort::{AbortAnswer, abort_run};
pub use admitted::{AdmittedTrain, Arriving};
pub use audited_keys::{AuditedKeys, KeyUseError, key_ref, keys_found, token_uses};
pub use caller::{Caller, new_call};
pub use check_push::{PushFinding, PushVerdict, check_push};
pub use creator::{CameHome, Results};
pub use error::StepError;
pub use hash_image::{ImageDigests, TrainAbsent, TrainDigests, hash_image};
pub use inspect::{Inspection, ListedFile, inspect_saved, inspect_train};
pub use open_results::{Given, ResultsAnswer, ResultsOf, ResultsPart, open_results};
pub use opened::{Mount, MountSource};
pub use policy::Policy;
pub use post_run::{PostRunAnswer, PostRunOrder, post_run};
pub use pre_run::{PreRunAnswer, PreRunOrder, pre_run};
pub use raw_key::{RawKey, RawKeyError};
pub use report::EMBEDDED;
pub use sessions::KnownSessions;
pub use station::{Compat, Station, Step};
pub use strangers::{Stranger, Who};
pub use validate_image::{ImageVerdict, Side, validate_image, validate_places};
pub use verify_train::{Judge, Verification, verify_archive, verify_for_station, verify_image, verify_place};
