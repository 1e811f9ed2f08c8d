//! Admission of trains, as a sequence of types. Each stage has one function, which takes the value of the stage before it:
//!
//! | type | what has passed |
//! |---|---|
//! | [`TrainDocument`](super::content::train_document::TrainDocument) | the train config can be read and parsed |
//! | [`authorize::AuthorizedTrain`] | the caller's grants cover the train |
//! | [`admit::AdmittedTrain`] | route key, session and the keys in the train are those that this station accepts |
//! | [`unwrap::UnwrappedTrain`] | the token was asked for the envelope key |
//! | [`unwrap::ReadTrain`] | all content is in the spool, still sealed |
//! | [`verify::VerifiedTrain`] | every digest and signature is valid |
//!
//! The station's keys are private to this module, so it also has the [`station::Station`] that holds them.

pub mod admit;
pub mod audited_keys;
pub mod authorize;
pub mod immutable_files;
pub mod implicit_rejection;
pub mod permitted_keys;
pub mod raw_key;
pub mod session_binding;
pub mod station;
pub mod trust_check;
pub mod unwrap;
pub mod verify;
