//! stationmaster opens, checks, closes and signs Personal Health Train images with private keys that stay inside an HSM.
//!
//! `ARCHITECTURE.md` describes the crates and modules. This crate is the service and its commands. Imports point down only:
//!
//! ```text
//! cli, main → dev → server → service → protocol → (authz | audit | key_states | ledger | trust)
//! ```
//!
//! Every module may use the crates below: `stationmaster_keystore`, `stationmaster_image`, `stationmaster_train` and
//! `stationmaster_system`. Only `service`, `server` and `cli` use `stationmaster_proto`.
//!
//! `config` is read by `cli`, `dev` and `server`; the modules below receive plain values. `state` is used by `server` and `cli`,
//! and depends on `audit` and `ledger`.

pub mod audit;
pub mod authz;
pub mod checks;
pub mod cli;
pub mod config;
pub mod dev;
mod key_file;
pub mod key_states;
pub mod ledger;
pub mod protocol;
pub mod server;
pub mod service;
pub mod state;
pub mod trust;
pub mod watched_file;
