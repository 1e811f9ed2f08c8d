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
    engine::DockerClient, journey::Actors, prerequisites::Needs, report::DemoReport, signals::Signals, stations::Stations,
    workspace::Workspace,
};

/// How the demonstration is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave images and files behind, to look at.
    pub keep: bool,
    /// Where the stations' files go: a directory that is empty or not there yet; a temporary one when not given.
    pub state: Option<PathBuf>,
}

/// Runs the demonstration and prints it to standard output.
///
/// # Errors
/// When something is missing on this machine, a step fails, or something that was to be proven does not hold.
pub fn run(options: &Options) -> Result<(), DemoError> {
    let needs = Needs::find()?;
    let place = Workspace::make(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(DemoError::io("start the runtime"))?;
    runtime.block_on(perform(&needs, &place, options.keep))
}

async fn perform(needs: &Needs, place: &Workspace, keep: bool) -> Result<(), DemoError> {
    let mut signals = Signals::catch()?;
    let mut report = DemoReport::new();
    let id = algorithm::mark(4)?;
    let engine = DockerClient::connect(&needs.engine, &id).await?;
    report.title(&id);
    report.step("engine", format!("Docker {} at {}", engine.version(), needs.engine));

    trust_files::nobody(place.root())?;
    let mut stations = Stations::new(place.root(), &needs.engine)?;
    let outcome = tokio::select! {
        biased;
        () = signals.next() => Err(DemoError::Interrupted),
        outcome = journey::travel(Actors { needs, engine: &engine, place }, &mut stations, &mut report) => outcome,
    };
    stations.end().await;
    let swept = if keep { Ok(()) } else { engine.sweep().await };
    match (outcome, swept) {
        (Ok(()), Ok(())) => evidence::look_at(stations.logs(), &mut report)?,
        (Err(error), _) | (Ok(()), Err(error)) => return Err(error),
    }
    report.end(keep.then(|| place.kept(&engine)));
    Ok(())
}
