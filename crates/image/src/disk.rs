//! Disk space, and the spool of sealed files.

pub mod space;
pub mod spool;
