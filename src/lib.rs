//! stationmaster opens, checks, closes and signs Personal Health Train images with private keys that stay inside an HSM.
//!
//! The map of the house is `ARCHITECTURE.md`. Imports point down only:
//!
//! ```text
//! cli, demo, main → dev → server → service → protocol → (access | audit | keystore | image | ledger | trust) → train → nothing of ours
//! ```
//!
//! `memory` leans on nothing, too; `keystore`, `cli` and `main` lean on it. Nor does `files`, which most lean on, nor `crash`; `protocol` and `image` name its points.
//!
//! `config` is read by `cli`, `dev` and `server`; what lies below gets plain values. `state` is `server`'s and `cli`'s, and knows `ledger`.

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
