//! Signal handling of the service, from startup to shutdown.
//!
//! Signals are handled on a separate thread: the service ends even if its other threads wait for a token, an engine or a disk.

use std::{future, thread, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ServerError, Shutdown, log, manager::Manager};

/// Time that the orderly shutdown may take after the drain. systemd's TimeoutStopSec must be longer than the sum of both.
const BEYOND_DRAIN: Duration = Duration::from_secs(25);

/// Handles SIGTERM, SIGINT and SIGHUP from now on.
///
/// The first SIGTERM or SIGINT requests the shutdown, a second one cancels running work. The process ends at the latest after
/// the drain and [`BEYOND_DRAIN`]: work that hangs then is left as after a crash, and recovered at the next start. SIGHUP never
/// ends the process.
///
/// # Errors
/// When a signal handler cannot be installed.
pub(super) fn obey(shutdown: &Shutdown, drain: Duration, manager: &Manager) -> Result<(), ServerError> {
    let trouble = |error| ServerError::io("cannot listen for signals", error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(trouble)?;
    let signals = {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).map_err(trouble);
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?, listen(SignalKind::hangup())?)
    };
    let (shutdown, manager) = (shutdown.clone(), manager.clone());
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || runtime.block_on(follow(signals, shutdown, drain, manager))).map_err(trouble)?;
    Ok(())
}

async fn follow(
    (mut terminate, mut interrupt, mut hangup): (Signal, Signal, Signal),
    to: Shutdown,
    drain: Duration,
    manager: Manager,
) {
    let mut latest = None;
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: TLS certificates are read again; access and trust file are read for every call");
                manager.reloaded();
                continue;
            }
            () = at(latest) => give_up(),
        };
        tracing::info!("{name}");
        if to.asked.is_cancelled() {
            tracing::warn!("second request to shut down: running calls are cancelled");
            to.cancel.cancel();
        }
        to.asked.cancel();
        manager.stopping();
        latest.get_or_insert_with(|| tokio::time::Instant::now() + drain + BEYOND_DRAIN);
    }
}

async fn at(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => future::pending().await,
    }
}

/// Ends the process at once. No exit handler runs: a token's library may crash in one while a call of it hangs.
#[expect(unsafe_code, reason = "ends the process without exit handlers")]
fn give_up() -> ! {
    tracing::error!("the orderly shutdown takes too long: token, engine or disk does not respond; the next start recovers");
    log::finish();
    // SAFETY: ends the process.
    unsafe { libc::_exit(1) }
}

/// Returns a stream of SIGHUP, for a component that reloads files.
pub(super) fn hangup() -> Option<Signal> {
    signal(SignalKind::hangup()).inspect_err(|error| tracing::warn!(%error, "cannot listen for a signal")).ok()
}

/// Waits for the next signal.
pub(super) async fn next(signal: &mut Option<Signal>) {
    let came = match signal {
        Some(signal) => signal.recv().await.is_some(),
        None => false,
    };
    if !came {
        future::pending().await
    }
}

/// Runs `work`, unless the shutdown is requested meanwhile.
pub(super) async fn unless_asked<T>(asked: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = asked.cancelled() => None,
        done = work => Some(done),
    }
}
