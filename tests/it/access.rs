//! Authorisation: every RPC, for every principal, on every transport, in every state of the service.

mod granted;
mod hidden;
mod matrix;
pub mod principals;
