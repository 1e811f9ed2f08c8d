//! Tokens in processes of their own: a crash or hang of a vendor's library ends that process, and a new one takes its place. The PIN
//! and the library's memory are not in the process that has the network.
//!
//! `wire` has the messages, `socket` sends them, `token` is the side of the service and `shared` its state, `process` starts and ends the
//! worker process, `pauses` are those between its starts, `supervisor` keeps one running, `worker` is its main function.

mod pauses;
mod process;
mod shared;
mod socket;
mod supervisor;
mod token;
mod wire;
mod worker;

pub(crate) use supervisor::DOES_NOT_OPEN;
pub(crate) use token::Isolated;
pub use worker::run as run_worker;
