//! stationmaster opens, checks, closes and signs Personal Health Train images with private keys that stay inside an HSM.
//!
//! `ARCHITECTURE.md` describes the modules. Imports point down only:
//!
//! ```text
//! cli, demo, main → dev → server → service → protocol → (authz | audit | keystore | image | ledger | trust) → train
//! ```
//!
//! `memory`, `files` and `failpoint` depend on no other module. `keystore`, `cli` and `main` use `memory`; most modules use `files`;
//! `protocol` and `image` name the points of `failpoint`.
//!
//! `config` is read by `cli`, `dev` and `server`; the modules below receive plain values. `state` is used by `server` and `cli`,
//! and depends on `audit` and `ledger`.

pub mod audit;
pub mod authz;
pub mod cli;
pub mod config;
pub mod demo;
pub mod dev;
pub mod failpoint;
pub mod files;
pub mod image;
mod key_file;
pub mod keystore;
pub mod ledger;
pub mod memory;
pub mod pb;
pub mod protocol;
pub mod server;
pub mod service;
pub mod state;
pub mod train;
pub mod trust;
pub mod watched_file;
