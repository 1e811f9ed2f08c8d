//! Protects secrets in memory: a process that other processes cannot inspect, memory that is cleared when it is freed, and pages
//! outside core dumps for long-lived secrets. `SECURITY.md` describes the effect and its limits.

mod environment;
pub mod no_dump;
pub mod secret_pages;
pub mod zeroing_alloc;

pub use environment::take_variable;

pub use self::{
    no_dump::protect_process,
    secret_pages::SecretPages,
    zeroing_alloc::{ZeroingAllocator, clear_in_openssl},
};
