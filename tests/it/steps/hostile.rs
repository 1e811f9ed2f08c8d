//! What an adversary may send, as a catalogue: images, configs, and the one answer that all cryptography gets.
//!
//! Each row of [`images`] and [`configs`] has the number that the threat catalogue gives it (`docs/weaknesses.md`), the input, and what
//! must become of it. The inputs reach the built service as an engine's answers: most of them no engine would let into an image,
//! and a hostile registry is not the only one who can make an engine's answer hostile.

mod archive;
mod case;
mod configs;
mod engine;
mod images;
mod uniform;
