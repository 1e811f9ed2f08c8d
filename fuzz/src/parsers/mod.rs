//! Everything in stationmaster that reads foreign bytes, each as a function from bytes to nothing: it returns, or it panics because a
//! promise was broken. The fuzzer runs them, and so do plain tests (`tests/it/images/foreign_bytes.rs`), over the same seeds.

mod archives;
mod audit;
mod audit_shape;
mod envelopes;
mod json;
mod names;
#[cfg(feature = "fuzzing")]
mod oaep;
#[cfg(feature = "fuzzing")]
mod private;
mod protobuf;
mod public_keys;
pub mod random;
pub mod seeds;
pub mod tar_shape;

use self::random::Random;

/// A parser under test.
pub struct Target {
    /// Its name on the command line, and its corpus' folder.
    pub name: &'static str,
    /// Gives it an input. Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to start from, always the same.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Changes an input in ways that blind changes do not find, within the given length.
    pub shape: Option<fn(&mut Vec<u8>, &mut Random, usize)>,
    /// What makes an input fit again after a blind change.
    pub mend: fn(&mut [u8]),
    /// Longest input, in bytes.
    pub longest: usize,
    /// How many inputs of the usual target one of this one's costs: so many fewer are tried where their number is given.
    pub cost: usize,
}

const fn plain(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>, longest: usize) -> Target {
    Target { name, run, seeds, shape: None, mend: |_| {}, longest, cost: 1 }
}

const fn shaped(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>, longest: usize) -> Target {
    Target { name, run, seeds, shape: Some(tar_shape::mutate), mend: tar_shape::mend, longest, cost: 1 }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    plain("json", json::json, seeds::configs, 16 * 1024),
    plain("config", json::config, seeds::configs, 16 * 1024),
    plain("public_key", public_keys::run, seeds::public_keys, 8192),
    plain("names", names::paths, seeds::names, 8192),
    plain("reference", names::reference, seeds::references, 1024),
    plain("envelope", envelopes::run, seeds::envelopes, 4096),
    #[cfg(feature = "fuzzing")]
    plain("oaep", oaep::run, seeds::oaep_blocks, 1100),
    plain("protobuf", protobuf::run, seeds::protobufs, 4096),
    plain("requests", protobuf::requests, seeds::protobufs, 4096),
    plain("opt_raw", archives::opt, seeds::opt_archives, 16 * 1024),
    shaped("opt", archives::opt, seeds::opt_archives, 16 * 1024),
    shaped("config_file", archives::config_file, seeds::config_files, 8 * 1024),
    shaped("tree", archives::tree, seeds::saved_images, 32 * 1024),
    shaped("validate", archives::validate, seeds::saved_images, 32 * 1024),
    shaped("opt_files", archives::opt_files, seeds::saved_images, 32 * 1024),
    Target { shape: Some(audit_shape::mutate), cost: 10, ..plain("audit_log", audit::log, seeds::audit_logs, 32 * 1024) },
    Target { cost: 5, ..plain("checkpoint", audit::note, seeds::checkpoints, 4096) },
    #[cfg(feature = "fuzzing")]
    shaped("pass_on", private::pass_on, seeds::saved_images, 32 * 1024),
];
