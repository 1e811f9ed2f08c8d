//! `hash` and the reading of images, against the engine's own export of the same image.

use crate::{
    engine::Engine, modes::FLOOR, options::Options, payload::Payload, record::Case, sealed::Sealed, second::Second, steps::WHOLE,
};

/// Who reads.
pub const OURS: &str = "stationmaster hash";

/// Measures both in turn.
pub fn measure(options: &Options, payload: Payload, sealed: &Sealed, second: &mut Second) -> Case {
    let mut case = Case::new(payload.to_string(), payload.bytes(), payload.files);
    sealed.restore();
    second.forget(sealed);
    let engine = Engine::connect();
    for round in 0..options.rounds(payload) {
        eprintln!("{payload}: images, round {}", round + 1);
        options.wait_for_quiet();
        case.add(FLOOR, WHOLE, engine.save(sealed.image()));
        case.add(OURS, WHOLE, second.ours(&["hash", sealed.image()]).0);
    }
    case
}
