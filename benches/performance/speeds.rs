//! What hash, cipher and token do in the same run, by processor time: the base of the account of where time goes.

use std::time::{Duration, Instant};

use openssl::sha::{Sha256, Sha512};
use stationmaster_train::envelope::{EnvelopeKey, Opener, Sealer};

use crate::{
    bare::{self, Operation},
    options::Options,
    process::Cpu,
    record::Speeds,
    second::{KEY, Second},
};

/// Bytes handled at a time, as the service does.
const PIECE: usize = 256 * 1024;

/// Measures all of them, one thread.
pub fn measure(second: &Second, options: &Options) -> Speeds {
    let patience = Duration::from_secs_f64(options.key_seconds() / 2.0);
    let key = EnvelopeKey::random().expect("a key");
    let (mut sha512, mut sha256) = (Sha512::new(), Sha256::new());
    let (mut sealer, mut opener) = (Sealer::new(&key).expect("a cipher"), Opener::new(&key));
    let mut out = Vec::new();
    let seconds = |operation| bare::measure(second.station(), KEY, operation, 1, options.key_seconds()).cpu_us / 1e6;
    Speeds {
        sha512: rate(patience, |piece| sha512.update(piece)),
        sha256: rate(patience, |piece| sha256.update(piece)),
        seal: rate(patience, |piece| {
            out.clear();
            sealer.update(piece, &mut out).expect("a cipher");
        }),
        open: rate(patience, |piece| {
            out.clear();
            opener.update(piece, &mut out).expect("a cipher");
        }),
        sign: seconds(Operation::Sign),
        decrypt: seconds(Operation::Unwrap),
    }
}

fn rate(patience: Duration, mut each: impl FnMut(&[u8])) -> f64 {
    let piece = vec![7; PIECE];
    let (begun, before) = (Instant::now(), Cpu::own());
    let mut bytes = 0;
    while begun.elapsed() < patience {
        each(&piece);
        bytes += piece.len();
    }
    bytes as f64 / Cpu::own().since(before).all()
}
