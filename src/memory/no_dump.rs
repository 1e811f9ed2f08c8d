//! A process that nobody but root may look into.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Closes this process: no core image of it is written, none of its user's other processes may read its memory or attach to
/// it (`PR_SET_DUMPABLE`), and nothing that it starts can gain privileges (`PR_SET_NO_NEW_PRIVS`; of threads, those that are
/// started later: call it on the first).
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn close() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
