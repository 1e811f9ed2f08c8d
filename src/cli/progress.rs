//! A progress bar on a terminal while a step streams its progress; no output elsewhere.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stationmaster_proto as pb;
use tonic::Streaming;

use super::error::CliError;

/// One message of a step's stream.
pub(super) enum Event<T> {
    Progress(pb::Progress),
    Done(T),
    Nothing,
}

/// Follows a stream to its outcome, and shows its progress.
pub(super) async fn follow<M, T>(mut stream: Streaming<M>, read: impl Fn(M) -> Event<T>) -> Result<T, CliError> {
    let bar = Bar::new();
    let mut outcome = None;
    while let Some(message) = stream.message().await? {
        match read(message) {
            Event::Progress(progress) => bar.show(&progress),
            Event::Done(done) => outcome = Some(done),
            Event::Nothing => {}
        }
    }
    outcome.ok_or_else(|| CliError::other("the service ended its response without an outcome"))
}

/// The progress bar.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    pub(super) fn show(&self, progress: &pb::Progress) {
        let template = if progress.bytes_total > 0 {
            self.0.set_length(progress.bytes_total);
            "{msg:>8} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}"
        } else {
            "{msg:>8} {spinner} {bytes} {bytes_per_sec}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.set_message(super::output::printable(&progress.step));
        self.0.set_position(progress.bytes_done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
