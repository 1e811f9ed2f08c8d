//! PKCS#11 backend: the only module that uses the `cryptoki` crate.
//!
//! `module` holds the library, `token` finds the token and logs in, `objects` reads keys, `mechanisms` runs one operation,
//! `probe` learns what works, `keys` and `keyring` store it, `oaep` removes padding, `pool`, `turns` and `worker` use sessions
//! from several threads, `recovery` recovers a lost token, `generate` and `listing` serve the administration.

mod counters;
mod generate;
pub(crate) mod keyring;
mod keys;
mod listing;
mod mechanisms;
mod module;
mod oaep;
mod objects;
mod pool;
mod probe;
pub(crate) mod recovery;
pub(crate) mod rv;
#[cfg(test)]
mod tests;
mod token;
mod turns;
mod worker;

pub(super) use generate::{generate_key, init_token, set_user_pin};
pub(super) use listing::contents;
pub(super) use oaep::unpad;
pub(super) use pool::Pool;
