//! Formats of sealed files, by version of the train format.

pub mod v1;
