//! Version 1: AES-CBC without authentication. No other module knows its block size.

pub mod envelope;
