//! Admission of trains: checks route, trust, session and grants, unwraps the envelope key and verifies the train. Only an
//! admitted train reaches the token.

pub mod admit;
pub mod implicit_rejection;
pub mod raw_key;
pub mod session_binding;
pub mod trust_check;
pub mod verify;
