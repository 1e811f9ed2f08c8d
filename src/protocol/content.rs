//! Content of a train: sealed files in the spool, the working copy of a run, and sealing that copy again.

pub mod hash_thread;
pub mod read_sealed;
pub mod seal;
pub mod sealed_contents;
pub mod train_layer;
pub mod working_copy;
pub mod write_plaintext;
