//! The generated protobuf types of `stationmaster.v1`, for the service and its client.

#![allow(clippy::large_enum_variant)]

mod opened_key;

include!("generated/stationmaster.v1.rs");

pub use opened_key::UnwrapKeyResponse;

/// The compiled descriptors of all services, for reflection and for tests that walk them.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// The full method names of all RPCs, as in `/stationmaster.v1.KeyService/Sign`.
pub const RPC_PATHS: &[&str] = &include!("generated/rpc_paths.rs");
