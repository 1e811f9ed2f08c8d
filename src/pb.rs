//! The generated protobuf types of `stationmaster.v1`, for the service and its client.

#![allow(clippy::large_enum_variant)]

mod opened_key;

include!("pb/generated/stationmaster.v1.rs");

pub use opened_key::UnwrapKeyResponse;

/// The compiled descriptors of all services, for reflection and for tests that walk them.
pub const DESCRIPTORS: &[u8] = include_bytes!("pb/generated/descriptors.bin");
