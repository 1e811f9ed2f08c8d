//! gRPC services, one file each: convert the request, call one step, convert the result. No deeper module uses protobuf, and
//! only [`status`] names the status type of the wire.

pub mod call_record;
pub mod deadline;
pub mod images;
pub mod keys;
pub mod peer;
pub mod refusals;
pub mod shares;
pub mod standing;
pub mod status;
pub mod steps;
pub mod trains;
mod uploads;

pub use deadline::Deadline;
pub use peer::Peer;
