//! PKCS#11 backend: the only module that uses the `cryptoki` crate.
//!
//! `module` holds the library, `token` finds the token and logs in, `objects` reads keys from their `attributes` (`family`
//! their types, `public_half` their public halves), `mechanisms` runs one operation,
//! `probe` learns what works, `keys` and `keyring` store it, `oaep` removes padding, `pss` adds it, `pool`, `threads`, `fair_queue`, `worker`,
//! `worker_slot` and `session_slot` use sessions from several threads, which have `shared_state`, `attempt_error` says
//! what may be tried again, `quirks` knows the vendors, `watchdog` replaces workers whose
//! call hangs, `recovery` recovers a lost token, `initialise`, `generate`, `destroy`, `listing` and `report` serve the administration.

mod attempt_error;
mod attributes;
mod calls;
mod counters;
mod destroy;
mod fair_queue;
mod family;
mod generate;
mod import;
mod initialise;
mod keyring;
mod keys;
mod listing;
mod mechanisms;
mod module;
mod oaep;
mod objects;
mod pool;
mod probe;
mod pss;
mod public_half;
mod quirks;
mod recovery;
mod report;
mod rv;
mod session_slot;
mod shared_state;
#[cfg(test)]
mod tests;
mod threads;
mod token;
mod token_info;
mod watchdog;
mod worker;
mod worker_slot;

pub use destroy::{destroy_key, key_objects};
pub use generate::generate_key;
pub use import::import_key;
pub use initialise::{change_user_pin, init_token, set_user_pin};
pub(super) use keyring::Needed;
pub(super) use keys::not_found;
pub use listing::contents;
#[cfg(test)]
pub(super) use mechanisms::in_der;
pub use module::try_module;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) use oaep::unpad;
pub(super) use pool::Pool;
pub use report::{check_login, list_tokens, token_report};
#[cfg(test)]
pub(super) use shared_state::Health;
#[cfg(test)]
pub(super) use tests::underneath;
#[cfg(test)]
pub(super) use worker::Task;
