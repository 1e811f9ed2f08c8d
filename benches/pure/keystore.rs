//! What `oaep.rs` finds at home under this name.

pub use stationmaster::keystore::OaepScheme;
