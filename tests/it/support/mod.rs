//! What the tests share: a service as a child process, a train, the train_lib peers, the engine's own view.
//!
//! ```text
//! let station = Station::start("a");                        // serve --dev in a directory of its own, waited for
//! let train = Train::of(&[station.seat()]).make();          // a real train, in a repository of its own
//! let run = station.pre_run(&train.image)?;                 // Err is a Refusal: code, reason, metadata
//! Peer::newest().run_train(&train.image, Mode::Commit, &[]);
//! station.post_run(&run.run_id)?;
//! let opened = train.open(&[]);                             // the creator's own check and decryption
//! assert_eq!(opened.files, train.expected_results(1));
//! ```
//!
//! Everything here is plain blocking code for plain `#[test]` functions; [`block_on`] is for a test's own async parts. What a
//! test made (processes, directories, images, containers) goes when its guards are dropped, also when it fails.

pub mod core_image;
pub mod disk;
mod engine;
pub mod mounts;
mod peer;
mod private_engine;
pub mod proxied;
pub mod proxy;
mod refusal;
pub mod skopeo_layouts;
mod station;
pub mod tamper;
pub mod token;
mod train;
mod trust;

use std::{
    future::Future,
    sync::LazyLock,
    time::{Duration, Instant},
};

pub use disk::Disk;
pub use engine::{Engine, Held, Snapshot};
pub use peer::{LibStation, Mode, Peer, PeerError};
pub use private_engine::{PrivateEngine, privileged};
pub use refusal::Refusal;
pub use station::{Launch, PROGRAM, Station, listen_on_tcp, outcome, pinned, set, whole_images};
pub use train::{Seat, Train};

/// How long anything may take before it counts as stuck. No measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Where async code runs.
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"));

/// Waits for async code, from anywhere: also from a guard that is dropped inside async code.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    if tokio::runtime::Handle::try_current().is_ok() {
        std::thread::scope(|scope| {
            scope.spawn(|| RUNTIME.block_on(future)).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    } else {
        RUNTIME.block_on(future)
    }
}

/// A program that may read the memory of the service, as only root can: through sudo where the test is not root.
pub fn as_root(program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
    if rustix::process::geteuid().is_root() {
        return std::process::Command::new(program);
    }
    let mut command = std::process::Command::new("sudo");
    command.arg("-n").arg(program);
    command
}

/// Where async code runs, for the service's own blocking parts.
pub fn handle() -> tokio::runtime::Handle {
    RUNTIME.handle().clone()
}

/// Starts async code that goes on by itself while the test does something else.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    RUNTIME.spawn(future)
}

/// Asks until there is an answer; fails the test when none comes within [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
