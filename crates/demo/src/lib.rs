//! Demonstration of the whole protocol: a train is built, processed at three stations, attacked on the way, and opened by its creator.
//!
//! Each station is a process of `stationmaster` with its own token; it is called over its Unix socket, as station software would call it.
//! Creator, builder and the station software between pre-run and post-run are simulated here. However the demonstration ends, the
//! stations are stopped, and containers, images and files are removed (unless they are to be kept).

mod algorithm;
mod attacks;
mod builder;
mod creator;
pub mod creator_opens;
mod engine;
mod error;
mod evidence;
mod expect;
mod journey;
pub mod prerequisites;
mod records;
mod report;
mod scan;
mod signals;
mod software_key;
mod stations;
pub mod trust_files;
pub mod workspace;

use std::path::PathBuf;

pub use self::error::DemoError;
use self::{
    engine::DockerClient, journey::DemoContext, prerequisites::Prerequisites, report::DemoReport, signals::Signals,
    stations::Stations, workspace::Workspace,
};

/// How the demonstration is run.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// Keep images and files for inspection.
    pub keep: bool,
    /// The directory for the stations' files, which is empty or does not exist yet; a temporary one by default.
    pub state: Option<PathBuf>,
}

/// Runs the demonstration and prints it to standard output.
///
/// # Errors
/// When a requirement is missing on this machine, a step fails, or an expectation is not met.
pub fn run(options: &DemoOptions) -> Result<(), DemoError> {
    let needs = Prerequisites::find()?;
    let workspace = Workspace::create(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(DemoError::io("start the runtime"))?;
    runtime.block_on(perform(&needs, &workspace, options.keep))
}

async fn perform(needs: &Prerequisites, workspace: &Workspace, keep: bool) -> Result<(), DemoError> {
    let mut signals = Signals::catch()?;
    let mut report = DemoReport::new();
    let id = algorithm::mark(4)?;
    let engine = DockerClient::connect(&needs.engine, &id).await?;
    report.title(&id);
    report.step("engine", format!("Docker {} at {}", engine.version(), needs.engine));

    trust_files::create_empty(workspace.root())?;
    let mut stations = Stations::new(workspace.root(), &needs.engine)?;
    let outcome = tokio::select! {
        biased;
        () = signals.next() => Err(DemoError::Interrupted),
        outcome = journey::run(DemoContext { needs, engine: &engine, workspace }, &mut stations, &mut report) => outcome,
    };
    stations.end().await;
    let swept = if keep { Ok(()) } else { engine.sweep().await };
    match (outcome, swept) {
        (Ok(()), Ok(())) => evidence::verify_logs(stations.logs(), &mut report)?,
        (Err(error), _) | (Ok(()), Err(error)) => return Err(error),
    }
    report.end(keep.then(|| workspace.kept(&engine)));
    Ok(())
}
