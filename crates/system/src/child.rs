//! Continues a command in a child process, so that a crash of a vendor's library leaves a process that can report it.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{self, ExitStatus},
    time::{Duration, Instant},
};

/// Signals by which a process ends because of a fault in its code.
const FAULTS: [(i32, &str); 7] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGTRAP, "SIGTRAP"),
    (libc::SIGSYS, "SIGSYS"),
];

/// The child ended by a fault; this is the name of its signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash(pub &'static str);

/// Forks the process. Returns in the child, which continues; the parent waits for it, and returns only when the child crashed. Otherwise
/// the parent ends as the child did, with its exit code, or with 128 and the number of its signal.
///
/// # Errors
/// When the process cannot be forked.
///
/// # Safety
/// No other thread runs: a lock that one holds would never be released in the child.
#[allow(unsafe_code, reason = "forks the process")]
pub unsafe fn continue_in_child() -> io::Result<Result<(), Crash>> {
    // SAFETY: the caller has one thread.
    match unsafe { in_child(die_with_parent, None)? } {
        None => Ok(Ok(())),
        Some(status) => match crash_of(status) {
            Some(crash) => Ok(Err(crash)),
            None => process::exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))),
        },
    }
}

/// Carries out `action` in a child process, and returns the child's crash, if it did crash. A child that takes longer than `limit` is
/// killed.
///
/// # Errors
/// When the process cannot be forked.
///
/// # Safety
/// As [`continue_in_child`].
#[allow(unsafe_code, reason = "forks the process")]
pub unsafe fn try_in_child(limit: Duration, action: impl FnOnce()) -> io::Result<Option<Crash>> {
    let acted = || {
        die_with_parent();
        action();
        // SAFETY: ends the process, without the exit handlers of the parent.
        unsafe { libc::_exit(0) }
    };
    // SAFETY: the caller has one thread.
    Ok(unsafe { in_child(acted, Some(limit))? }.and_then(crash_of))
}

/// Forks. Returns nothing in the child, after `first`, and the child's end in the parent.
#[allow(unsafe_code, reason = "forks the process, and sets dispositions of signals")]
unsafe fn in_child(first: impl FnOnce(), limit: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    // SAFETY: the caller has one thread.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            first();
            Ok(None)
        }
        child => {
            // A terminal sends these to both processes; the child decides.
            let ignored = [libc::SIGINT, libc::SIGQUIT];
            // SAFETY: sets dispositions, and restores them below.
            let before = ignored.map(|signal| unsafe { libc::signal(signal, libc::SIG_IGN) });
            let ended = wait_for(child, limit);
            for (signal, before) in ignored.into_iter().zip(before) {
                // SAFETY: as above.
                unsafe { libc::signal(signal, before) };
            }
            ended.map(Some)
        }
    }
}

/// Has the kernel end this process when its parent ends.
#[allow(unsafe_code, reason = "sets a property of the process")]
fn die_with_parent() {
    // SAFETY: takes numbers only. A failure leaves a process that ends by itself.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
}

/// Waits for a child, and kills it after `limit`.
#[allow(unsafe_code, reason = "waits for a child process, and kills it")]
fn wait_for(child: libc::pid_t, limit: Option<Duration>) -> io::Result<ExitStatus> {
    const INTERVAL: Duration = Duration::from_millis(2);
    let since = Instant::now();
    let mut options = if limit.is_some() { libc::WNOHANG } else { 0 };
    loop {
        let mut status = 0;
        // SAFETY: `status` is an integer of this function.
        match unsafe { libc::waitpid(child, &raw mut status, options) } {
            0 if limit.is_some_and(|limit| since.elapsed() > limit) => {
                options = 0;
                // SAFETY: the child was not waited for, so the number is still its own.
                unsafe { libc::kill(child, libc::SIGKILL) };
            }
            0 => std::thread::sleep(INTERVAL),
            ended if ended == child => return Ok(ExitStatus::from_raw(status)),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn crash_of(status: ExitStatus) -> Option<Crash> {
    FAULTS.iter().find(|(signal, _)| status.signal() == Some(*signal)).map(|(_, name)| Crash(name))
}
