//! The parts that need neither engine nor token nor disk. `cargo bench --bench pure`; with `-- --test` each runs once.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    reason = "measurements end where something is wrong"
)]

mod formats;
mod layers;
mod padding;

use criterion::{criterion_group, criterion_main};

criterion_group!(pure, formats::config, formats::keys, formats::digests, formats::envelope, layers::all, padding::oaep);
criterion_main!(pure);
