//! The state directory: its contents, backup and restore.
//!
//! | contents | in a backup |
//! |---|---|
//! | the ledger | yes: a copy as of one moment |
//! | the instance's id | yes: objects of this service in the engine carry it |
//! | keys that were seen first | yes: they decide which keys the station trusts |
//! | the states of train keys | yes: a retired key stays retired |
//! | the audit logs | no: they are appended to and never changed, and restoring an older one would truncate it; copy them with `audit export` |
//! | the PIN latch | no: it is about PINs that a token rejected, and contains hashes of them |
//! | lock, sockets, spools | no: they belong to a process |
//! | opened trains | no: plaintext |
//! | a development station's token, PIN, keys, certificates | no: a token has its own methods of backup |

mod accept_loss;
mod backup;
mod error;
mod ledger_age;
mod manifest;
mod part;
mod parts;
mod restore;
#[cfg(test)]
mod tests;

pub use accept_loss::accept_loss;
pub use backup::backup;
pub use error::StateError;
pub use ledger_age::remembered;
pub use manifest::{FileEntry, Manifest};
pub use part::Part;
pub use parts::StateParts;
pub use restore::{OpenRuns, Restored, restore};

/// Name of the ledger's file.
pub const LEDGER: &str = "ledger.sqlite";
/// Name of the file with the instance's id.
pub const INSTANCE: &str = "instance";
/// Name of the file with keys that were seen first.
pub const FIRST_SEEN: &str = "first-seen.toml";

pub use crate::key_states::KEY_STATES;

/// Name of the file that a service locks while it runs.
pub const LOCK: &str = "lock";

/// Contents of a backup, in the order in which they are restored: a directory without a ledger was not restored completely.
const BACKUP_FILES: [&str; 4] = [INSTANCE, FIRST_SEEN, KEY_STATES, LEDGER];
