//! Crash points for tests: named places at which a test build can be terminated, as by `kill -9`.

/// Terminates the process when the environment variable `STATIONMASTER_CRASH_AT` names this point.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    if std::env::var("STATIONMASTER_CRASH_AT").as_deref() == Ok(name) {
        // Sends itself a signal that cannot be caught: no destructor runs, nothing is flushed.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing: the feature is off.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_: &str) {}
