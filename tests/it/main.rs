//! Promises and attacks, tested on the real thing: the built service, SoftHSM, a Docker engine and train_lib from PyPI.
//!
//! `make test` installs what is needed and runs all of it. A test that misses something fails and says so; none is skipped.

#[path = "../../fuzz/src/parsers/mod.rs"]
mod parsers;
mod support;

mod access;
mod audit;
mod cli;
mod core_image;
mod counts;
#[cfg(feature = "crash-points")]
mod crash;
mod files;
mod foreign_bytes;
mod foreign_client;
mod generated;
mod hostile;
mod house;
mod images;
mod interop;
mod layouts;
mod ledger;
mod limits;
mod memory;
mod places;
mod readme;
mod refusals;
mod results;
mod reviews;
mod runs;
mod service;
mod tarfile;
mod tokens;
mod trust;
mod verify;
mod weaknesses;
mod whole_images;
