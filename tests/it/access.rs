//! Who may call: every RPC, by everybody, on every way in, in every state of the service.

mod granted;
mod hidden;
mod matrix;
pub mod principals;
