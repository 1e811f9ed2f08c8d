//! Protects the process against inspection by all users but root.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Disables inspection of this process: no core dump of it is written, no other process of its user may read its memory or attach
/// to it (`PR_SET_DUMPABLE`), and nothing that it starts can gain privileges (`PR_SET_NO_NEW_PRIVS`; among threads this covers those
/// started later, so call it on the first thread).
///
/// # Errors
/// When the kernel refuses, which is not expected.
pub fn protect_process() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
