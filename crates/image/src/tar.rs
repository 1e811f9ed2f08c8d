//! Tar archives: the strict reader, which rejects ambiguous archives, and the writer of one layer.

pub mod end_check;
pub mod entry;
pub mod file_kind;
pub mod header;
pub mod header_writer;
pub mod layer_writer;
pub mod pax;
pub mod reader;
