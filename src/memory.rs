//! What keeps secrets out of memory that others see: a process that nobody may look into, memory that is cleared when it is
//! freed, and a place outside core images for what must be kept. `SECURITY.md` says what that is worth.

mod clearing;
mod closed;
mod environment;
mod guarded;

pub use clearing::{Clearing, clear_in_openssl};
pub use closed::close;
pub use environment::take_variable;
pub use guarded::Guarded;
