//! Admission of trains: route, trust, session and grants, the envelope key, and verification. Only an admitted train reaches the token.

pub mod admit;
pub mod implicit_rejection;
pub mod raw_key;
pub mod session_binding;
pub mod trust_check;
pub mod verify;
