//! The state directory: what a service keeps in it, a backup of that, and putting one back.
//!
//! | in it | in a backup |
//! |---|---|
//! | the ledger | yes: a copy as of one moment |
//! | the instance's id | yes: what the engine holds of this service carries it |
//! | keys that were seen first | yes: they decide whom the station believes |
//! | the audit's logs | no: they are appended to and never changed, and an older one put back is a cut one; copy them with `audit export` |
//! | the PIN latch | no: it is about PINs that a token refused, and holds hashes of them |
//! | lock, sockets, spools | no: they are a process's |
//! | opened trains | no: plaintext |
//! | a development station's token, PIN, keys, certificates | no: a token has its own ways of backup |

mod backup;
mod behind;
mod error;
mod life;
mod manifest;
mod restore;
#[cfg(test)]
mod tests;

pub use backup::backup;
pub use behind::remembered;
pub use error::StateError;
pub use life::{Life, Part, accept_loss};
pub use manifest::{FileEntry, Manifest};
pub use restore::{OpenRuns, Restored, restore};

/// The ledger's file.
pub const LEDGER: &str = "ledger.sqlite";
/// The file with the instance's id.
pub const INSTANCE: &str = "instance";
/// The file with keys that were seen first.
pub const FIRST_SEEN: &str = "first-seen.toml";

/// The file that a service locks as long as it runs.
pub const LOCK: &str = "lock";

/// What a backup holds, in the order in which it is put back: a directory without a ledger was not restored.
const KEPT: [&str; 3] = [INSTANCE, FIRST_SEEN, LEDGER];
