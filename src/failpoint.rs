//! Named points at which a test build can be made to die, as by `kill -9`.

/// Dies here when the environment's `STATIONMASTER_CRASH_AT` names this point.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    if std::env::var("STATIONMASTER_CRASH_AT").as_deref() == Ok(name) {
        // A signal to ourselves that cannot be caught: no destructor runs, nothing is flushed.
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
