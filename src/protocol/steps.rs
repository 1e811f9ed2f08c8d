//! Steps of the protocol, one file for each, and what they share about runs.

pub mod abort;
pub mod check_push;
pub mod hash_image;
pub mod inspect;
pub mod open_results;
pub mod post_run;
pub mod pre_run;
pub mod recover;
pub mod runs;
pub mod validate_image;
pub mod verify_train;
pub mod working_copy;
