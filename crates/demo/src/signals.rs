//! Catches Ctrl-C and similar signals, so that the demonstration can clean up first.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::DemoError;

/// The signals that end the demonstration. While this exists, none of them ends the process.
pub(super) struct Signals([Signal; 3]);

impl Signals {
    pub(crate) fn catch() -> Result<Self, DemoError> {
        let catch = |kind| signal(kind).map_err(DemoError::io("catch signals"));
        Ok(Self([catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?, catch(SignalKind::hangup())?]))
    }

    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
