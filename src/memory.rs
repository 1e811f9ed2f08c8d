//! What keeps secrets out of memory that others see: a process that nobody may look into, memory that is cleared when it is
//! freed, and a place outside core images for what must be kept. `SECURITY.md` says what that is worth.

mod environment;
pub mod no_dump;
pub mod secret_pages;
pub mod zeroing_alloc;

pub use environment::take_variable;

pub use self::{
    no_dump::close,
    secret_pages::Guarded,
    zeroing_alloc::{Clearing, clear_in_openssl},
};
