//! Opens the station behind the services: its id, ledger and engine, and the recovery that must succeed before it serves.

use std::{
    io::Read,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use stationmaster_image::{
    ImageError,
    archive::memory_budget,
    store::{ImageStore, docker::Engine, layouts::LayoutStore, working_containers::WorkingContainers},
};
use stationmaster_system::files::{Directory, explained, make_directory};
use tokio::runtime::Handle;

use super::{ServerError, socket};
use crate::{
    config::{Config, PartialLoadSetting, Unlisted},
    ledger::Ledger,
    protocol::{AuditedKeys, Compat, EMBEDDED, Policy, Station, StepError, steps::recover},
    state,
    trust::{Trust, TrustMode},
};

/// Opens the ledger in the state directory.
///
/// # Errors
/// When the ledger cannot be used.
pub async fn open_ledger(config: &Config) -> Result<Ledger, ServerError> {
    Ok(Ledger::open(&config.state.directory.join(state::LEDGER)).await?)
}

/// Makes the station that a configuration describes. The engine is not contacted yet.
///
/// # Errors
/// When the state directory cannot be used.
pub fn station(config: &Config, keys: AuditedKeys, ledger: Ledger) -> Result<Arc<Station>, ServerError> {
    let instance = instance_id(&config.state.directory)?;
    let spool_directory = config.state.spool_directory();
    for directory in [Some(&spool_directory), config.runs.directory.as_ref()].into_iter().flatten() {
        make_directory(directory)
            .map_err(|error| ServerError::io(format!("cannot make {}", directory.display()), explained(directory, error)))?;
    }
    let spool_reserve = config.limits.spool_min_free_mib * 1024 * 1024;
    let (images, containers) = images(config, &instance, spool_reserve).map_err(|error| ServerError::Setup(error.to_string()))?;
    Ok(Arc::new(Station {
        id: config.station.clone(),
        keys,
        images,
        containers,
        ledger,
        spool_directory,
        spool_reserve,
        shared_directory: config.runs.directory.clone(),
        trust: trust(config),
        policy: Policy {
            rules: config.rules.set(),
            refuse_unlisted: config.rules.unlisted == Unlisted::Refuse,
            opt_allow: config.rules.opt_allow.iter().cloned().collect(),
        },
        compat: Compat { move_latest: config.compat.move_latest },
        handle: Handle::current(),
        active_stops: Default::default(),
        recovery_pending: Default::default(),
        recovered: Default::default(),
        images_away: Default::default(),
    }))
}

/// The image store of a station, and its working containers if it has an engine.
type Images = (Arc<dyn ImageStore>, Option<Arc<dyn WorkingContainers>>);

/// Returns the image store that the configuration describes.
fn images(config: &Config, instance: &str, reserve: u64) -> Result<Images, ImageError> {
    if let (None, Some(other)) = (&config.layouts.directory, config.engine.passed_over()) {
        let used = &config.engine.socket;
        tracing::warn!(%other, used, "the service does not support the engine that `docker` uses here: [engine] socket selects another");
    }
    memory_budget::set_limit(config.limits.image_memory_mib << 20);
    Ok(match &config.layouts.directory {
        Some(directory) => {
            let group = config.layouts.group.as_deref().map(socket::group_id).transpose().map_err(ImageError::at("layouts"))?;
            (Arc::new(LayoutStore::new(directory, reserve, group)), None)
        }
        None => {
            let engine = Engine::new(&config.engine.socket, config.engine.timeout(), instance, Handle::current())?
                .with_partial_load(config.engine.partial_load == PartialLoadSetting::Auto);
            let engine = Arc::new(engine);
            (Arc::clone(&engine) as Arc<dyn ImageStore>, Some(engine as Arc<dyn WorkingContainers>))
        }
    })
}

/// Returns the trust store that the configuration describes.
fn trust(config: &Config) -> Trust {
    match (config.trust.mode, &config.trust.file) {
        (TrustMode::Pinned, Some(file)) => Trust::pinned(file),
        (TrustMode::FirstUse, Some(file)) => Trust::first_use(file, &config.state.directory.join(state::FIRST_SEEN)),
        (TrustMode::Embedded, _) => {
            tracing::warn!("{EMBEDDED}");
            Trust::embedded()
        }
        // A configuration read from a file always has a trust file; without one no key is trusted.
        (TrustMode::Pinned | TrustMode::FirstUse, None) => Trust::pinned(&config.state.directory.join("trust.toml")),
    }
}

/// Checks that a trust file is available.
///
/// # Errors
/// When the trust file does not exist or cannot be used; the text is for the log.
pub async fn check_trust(station: Arc<Station>) -> Result<(), String> {
    let looked = tokio::task::spawn_blocking(move || station.trusted_keys()).await;
    match looked {
        Ok(Ok(trusted)) => trusted.flaw().map_or(Ok(()), |flaw| Err(flaw.to_owned())),
        Ok(Err(StepError::TrustNotReady(error))) => Err(format!("{error} ({})", error.hint())),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks whether the image store can be reached. The first time that it can, finishes or rolls back the runs of an earlier
/// process. Later, retries what failed while the engine was unavailable, and ends runs that an administrator has given up.
///
/// # Errors
/// When the engine does not respond, or something cannot be recovered yet; the text names the place.
pub async fn check_images(station: Arc<Station>) -> Result<(), String> {
    let images = Arc::clone(&station.images);
    check_and_recover(station).await.map_err(|error| {
        let remedy = match images.kind().name {
            "engine" => "check it, and [engine] socket",
            _ => "[layouts] directory must exist, and the service's user must be able to write to it",
        };
        format!("{}: {error} ({remedy})", images.place())
    })
}

async fn check_and_recover(station: Arc<Station>) -> Result<(), StepError> {
    let looked = station.images.check().await;
    station.images_away.store(looked.is_err(), Ordering::Release);
    looked?;
    if station.recovered.load(Ordering::Acquire) {
        // A failed recovery does not stop the service: the run's next call tries again, too.
        let _ = tokio::task::spawn_blocking(move || recover::retry_recovery(&station)).await;
        return Ok(());
    }
    let recovered = tokio::task::spawn_blocking(move || recover::recover(&station)).await;
    recovered.unwrap_or(Err(StepError::Invariant("recovery thread panicked")))
}

/// Returns this instance's id, created at the first start. The caller holds the state directory's lock.
fn instance_id(directory: &Path) -> Result<String, ServerError> {
    let file = directory.join(state::INSTANCE);
    let flaw = |error| ServerError::io(format!("cannot use {}", file.display()), explained(&file, error));
    let read = Directory::open(directory).and_then(|opened| {
        let mut id = String::new();
        opened.open_file(state::INSTANCE)?.take(128).read_to_string(&mut id)?;
        Ok(id)
    });
    match read {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(flaw(error)),
        _ => {}
    }
    let id = uuid::Uuid::new_v4().to_string();
    // Written atomically: a partial id would orphan the objects that carry the complete one.
    Directory::open(directory).and_then(|state| state.replace(state::INSTANCE, 0o600, id.as_bytes())).map_err(flaw)?;
    Ok(id)
}
