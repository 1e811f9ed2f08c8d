//! The parts that need neither engine nor token nor disk. `cargo bench --bench pure`; with `-- --test` each runs once.

mod formats;
mod keystore;
mod layers;
/// The very file of the keystore, which keeps it to itself.
#[allow(dead_code, reason = "one scheme is measured")]
#[path = "../../src/keystore/pkcs11/oaep.rs"]
mod oaep;
mod padding;

use criterion::{criterion_group, criterion_main};

criterion_group!(pure, formats::config, formats::keys, formats::digests, formats::envelope, layers::all, padding::oaep);
criterion_main!(pure);
