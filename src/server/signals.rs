//! The signals we listen to. Where one cannot be had, it never comes.

use std::future;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Comes back with the first SIGTERM or SIGINT.
pub(super) async fn terminated() {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! {
        () = next(&mut terminate) => tracing::info!("SIGTERM"),
        () = next(&mut interrupt) => tracing::info!("SIGINT"),
    }
}

/// SIGHUP.
pub(super) fn hangup() -> Option<Signal> {
    listen(SignalKind::hangup())
}

/// Waits for the next one.
pub(super) async fn next(signal: &mut Option<Signal>) {
    let came = match signal {
        Some(signal) => signal.recv().await.is_some(),
        None => false,
    };
    if !came {
        future::pending().await
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::warn!(%error, "cannot listen for a signal")).ok()
}
