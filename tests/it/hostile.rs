//! What an adversary may send, as a catalogue: images, configs, and the one answer that all cryptography gets.

mod uniform;
