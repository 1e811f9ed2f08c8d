//! The parts that need neither engine nor token nor disk. `cargo bench --bench pure`; with `-- --test` each runs once. OAEP needs
//! `--features fuzzing`, because it is private otherwise.

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
#[cfg(feature = "fuzzing")]
mod padding;

use criterion::{criterion_group, criterion_main};

criterion_group!(pure, formats::config, formats::keys, formats::digests, formats::envelope, layers::all);
#[cfg(feature = "fuzzing")]
criterion_group!(private, padding::oaep);

#[cfg(feature = "fuzzing")]
criterion_main!(pure, private);
#[cfg(not(feature = "fuzzing"))]
criterion_main!(pure);
