//! Content of a train: its config, sealed files in the spool, and sealing the content of a run again. Knows no station and no key
//! of one.

pub mod hash_thread;
pub mod read_sealed;
pub mod seal;
pub mod sealed_contents;
pub mod train_document;
pub mod train_layer;
