//! Reads the PIN from a file, a systemd credential, the environment or a terminal. Never from a command line, which every
//! process on the machine can read.
//!
//! A service logs in again after its token was unavailable. Between logins the PIN is not in ordinary memory: it is read from
//! its file again, and a PIN from the environment or a terminal is kept in pages that no core dump contains.

mod descriptor;
mod error;
mod file;
mod first_line;
mod resolve;
mod source;
#[cfg(test)]
mod tests;

pub use descriptor::read_line_from;
pub use error::PinError;
pub use resolve::resolve;
pub use source::PinSource;
pub(crate) use source::WirePin;
