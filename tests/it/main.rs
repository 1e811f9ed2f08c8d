//! Promises and attacks, tested on the real thing: the built service, SoftHSM, a Docker engine and train_lib from PyPI.
//!
//! `make test` installs what is needed and runs all of it. A test that misses something fails and says so; none is skipped.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    reason = "tests end where something is wrong"
)]

#[path = "../../fuzz/src/parsers/mod.rs"]
mod parsers;
mod support;

mod access;
mod api_comments;
pub mod architecture;
mod audit;
mod ceremony;
mod cli;
mod doctor;
mod documents;
mod four_eyes;
mod generated;
mod images;
mod key_states;
pub mod keystore;
mod python;
mod readme;
mod reviews;
pub mod server;
mod stability;
pub mod state;
mod steps;
mod trust;
