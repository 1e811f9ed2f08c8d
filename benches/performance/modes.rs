//! The ways in which a run can be opened. A new way is a new entry here.

/// One way.
#[derive(Debug)]
pub struct Mode {
    /// Its name, for tables.
    pub name: &'static str,
    /// Arguments of `train pre-run` after the image.
    pub pre_run: &'static [&'static str],
    /// Whether the run's outcome must be kept in an image before post-run.
    pub keeps: bool,
    /// What pre-run and post-run do with every byte of the results, and of the token; for the account of where time goes.
    pub passes: [Passes; 2],
}

/// How often a step takes the results through each primitive, and how often it uses the token.
#[derive(Clone, Copy, Debug)]
pub struct Passes {
    /// SHA-512 and SHA-256.
    pub hashes: [f64; 2],
    /// AES-CBC: sealing and opening.
    pub ciphers: [f64; 2],
    /// Signatures and decryptions in the token.
    pub token: [f64; 2],
}

/// Post-run hashes and seals everything once, wherever it comes from.
const POST: Passes = Passes { hashes: [1.0, 1.0], ciphers: [1.0, 0.0], token: [2.0, 0.0] };

/// All of them.
pub const MODES: &[Mode] = &[
    Mode {
        name: "image",
        pre_run: &[],
        keeps: true,
        passes: [Passes { hashes: [1.0, 1.0], ciphers: [0.0, 2.0], token: [0.0, 1.0] }, POST],
    },
    Mode {
        name: "volume",
        pre_run: &["--into", "volume"],
        keeps: false,
        passes: [Passes { hashes: [1.0, 0.0], ciphers: [0.0, 2.0], token: [0.0, 1.0] }, POST],
    },
    Mode {
        name: "directory",
        pre_run: &["--into", "directory"],
        keeps: false,
        passes: [Passes { hashes: [1.0, 0.0], ciphers: [0.0, 1.0], token: [0.0, 1.0] }, POST],
    },
];

/// Who is measured, in the words of the tables.
pub const FLOOR: &str = "engine";
/// As [`FLOOR`].
pub const TRAIN_LIB: &str = "train_lib";

/// A mode of ours among those who are measured.
pub fn ours(mode: &Mode) -> String {
    format!("stationmaster, {}", mode.name)
}
