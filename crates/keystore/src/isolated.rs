//! Tokens in processes of their own: a crash or hang of a vendor's library ends that process, and a new one takes its place. The PIN
//! and the library's memory are not in the process that has the network.
//!
//! `wire` has the messages, `socket` sends them, `token` is the side of the service, `process` starts and ends the worker process,
//! `worker` is its main function.

mod process;
mod socket;
mod token;
mod wire;
mod worker;

pub(crate) use token::Isolated;
pub use worker::run as run_worker;
