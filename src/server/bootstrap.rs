//! Startup and shutdown of a station: opens the token, assembles the services from the configuration and runs the server.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stationmaster_proto::{
    image_service_server::ImageServiceServer, key_service_server::KeyServiceServer, status_service_server::StatusServiceServer,
    train_service_server::TrainServiceServer,
};
use stationmaster_system::files::FileThread;
use tonic::service::Routes;

use super::{
    Addresses, Authorizer, Probes, ServerError, ServerParts, Shutdown,
    checkpoints::Checkpoints,
    disk, fitness,
    health::{self, Schedule},
    lock::Lock,
    manager::Manager,
    open_station::{check_images, check_trust, open_ledger, station},
    open_tokens::{key_purposes, of_tokens, open_keystore},
    request_layer::bounds,
    run, signals,
};
use crate::{
    audit,
    audit::{Administrators, Audit, Entry, Event, Remember, Remembered},
    authz::Access,
    config,
    config::Config,
    key_states::{KEY_STATES, KeyStatesInForce},
    ledger::{Ledger, LogOf},
    protocol::{AuditedKeys, Station, keys_found},
    service::{images::Images, keys::Keys, refusals::Refusals, standing::Standing, steps::Steps, trains::Trains},
    state,
};

/// Time that cancelled steps may take before the token is no longer waited for.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs one station until a shutdown is requested. Holds the lock of the state directory until then.
///
/// # Errors
/// When any part of the station cannot be opened.
pub async fn serve(config: Config, _lock: Lock, ready: impl FnOnce(&Addresses) + Send + 'static) -> Result<(), ServerError> {
    let (shutdown, manager) = (Shutdown::default(), Manager::of_environment());
    // First, because a signal may arrive while the token or the disk hangs.
    signals::obey(&shutdown, Duration::from_secs(config.limits.drain_s), &manager)?;
    manager.status("starting: opening ledger, audit and token");
    match signals::unless_asked(&shutdown.asked, open(&config)).await {
        Some(opened) => run_station(&config, opened?, shutdown, manager, ready).await,
        None => {
            tracing::info!("asked to shut down before serving");
            Ok(())
        }
    }
}

/// Returns the parts of the state directory that must belong to one history.
fn parts(config: &Config) -> state::StateParts {
    state::StateParts::new(&config.state.directory, &config.audit_directory(), Some(&config.station))
        .with_archive(config.audit.archive.as_deref())
}

/// The parts that a station needs before it can listen.
struct Opened {
    ledger: Ledger,
    audit: Audit,
    keys: AuditedKeys,
    /// The remembered head of the administrators' log.
    administrators: Option<Remembered>,
}

/// Opens the parts that a station needs before it can listen.
async fn open(config: &Config) -> Result<Opened, ServerError> {
    let parts = parts(config);
    // Before the ledger, because opening it creates one.
    parts.check_files()?;
    let ledger = open_ledger(config).await?;
    parts.check(&ledger).await?;
    // Before the token, because opening it tests every key.
    let administrators = state::remembered(&ledger, LogOf::Administrators).await?;
    let (audit, administrators) = open_audit(config, (&parts, &ledger), administrators).await?;
    let opened = open_keystore(config).await.map(|keystore| {
        let raw_use = config.keys.raw_use.iter().cloned().collect();
        let states = KeyStatesInForce::new(&config.state.directory.join(KEY_STATES));
        AuditedKeys::new(keystore, audit.clone(), key_purposes(config), raw_use, states)
    });
    let opened = match opened {
        Ok(keys) => fitness::at_start(&keys, config).await.map(|()| keys),
        Err(error) => Err(error),
    };
    let keys = match opened {
        Ok(keys) => keys,
        Err(error) => {
            let entry = Entry { detail: Some(error.to_string()), ..Entry::of(Event::ServiceStopped) };
            let _ = audit.record_async(entry).await;
            return Err(error);
        }
    };
    audit.record_async(keys_found(&keys.keys(), keys.key_uses())).await?;
    Ok(Opened { ledger, audit, keys, administrators })
}

async fn run_station(
    config: &Config,
    Opened { ledger, audit, keys, administrators }: Opened,
    shutdown: Shutdown,
    manager: Manager,
    ready: impl FnOnce(&Addresses) + Send + 'static,
) -> Result<(), ServerError> {
    let refusals = Arc::new(Refusals::new(audit.clone(), config.limits.principal_refusals_per_min));
    let access = Access::new(&config.access_file());
    let authorizer = Arc::new(Authorizer::new(access, audit.clone(), Arc::clone(&refusals), &config.limits));
    let message_limit = config.limits.request_bytes;
    let station = station(config, keys.clone(), ledger.clone())?;
    parts(config).record_in(&ledger).await?;
    let ends = (shutdown.draining.clone(), shutdown.cancel.clone());
    let steps = Steps::new(Arc::clone(&station), Arc::clone(&refusals), bounds(&config.limits), ends);
    let probes = probes(config, &keys, &authorizer, &station);
    let board = probes.board();
    let key_service = KeyServiceServer::new(Keys::new(keys.clone(), refusals)).max_decoding_message_size(message_limit);
    let images = ImageServiceServer::new(Images::new(steps.clone())).max_decoding_message_size(message_limit);
    let trains = TrainServiceServer::new(Trains::new(steps.clone())).max_decoding_message_size(message_limit);
    let status = StatusServiceServer::new(Standing::new(&config.station, board)).max_decoding_message_size(message_limit);
    let services = Routes::new(key_service).add_service(images).add_service(trains).add_service(status);

    let checkpoints = Arc::new(Checkpoints {
        directory: config.audit_directory().join(audit::SERVICE),
        archive: config.audit.archive.as_ref().map(|archive| (archive.join(audit::SERVICE), config.audit.keep_segments)),
        administrators: Arc::new(Mutex::new(Administrators::new(&config.audit_directory(), administrators))),
        blind: Default::default(),
        keys: keys.clone(),
        label: config.audit.key.clone(),
        authorizer: Arc::clone(&authorizer),
        ledger: ledger.clone(),
        every_records: config.audit.checkpoint_records,
        every: Duration::from_secs(config.audit.checkpoint_s),
    });
    // Records that were unsigned when an earlier process ended are signed now, and nothing is served with an unsigned log.
    let covered = checkpoints.first().await;
    tokio::spawn(Arc::clone(&checkpoints).run(covered, shutdown.draining.clone()));
    let outside = ServerParts {
        services,
        probes,
        manager,
        listen: config.listen.clone(),
        tls_key: keys.tls_key(),
        limits: config.limits.clone(),
        authorizer,
        shutdown,
    };
    let ended = run(outside, ready).await;
    // A cancelled step still undoes its effects; its connections to engine and token must outlive that.
    if tokio::time::timeout(TOKEN_TIMEOUT, steps.ended()).await.is_err() {
        // A token that does not respond must not delay the shutdown: steps that wait for it undo their effects.
        keys.give_up();
        steps.ended().await;
    }
    let _ = audit.record_async(Entry::of(Event::ServiceStopped)).await;
    checkpoints.last().await;
    // Joins the workers before the library is finalised: a token's library crashes when it is closed during a call.
    let _ = tokio::task::spawn_blocking(move || {
        if !keys.close() {
            tracing::error!("a call to the token does not return");
        }
        audit.close();
    })
    .await;
    // Afterwards all committed data is in one file, so a manual copy is complete. After the audit, whose head it stores.
    ledger.close().await;
    ended
}

fn probes(config: &Config, keys: &AuditedKeys, authorizer: &Arc<Authorizer>, station: &Arc<Station>) -> Probes {
    let (token, fit, audit) = (keys.clone(), keys.clone(), keys.audit().clone());
    let (authorizer, images, trust) = (Arc::clone(authorizer), Arc::clone(station), Arc::clone(station));
    let (labels, disks, pin_files) = (config.clone(), disk::Disks::new(config), FileThread::new("pin-file"));
    let of_images = if images.containers.is_some() { Schedule::Periodic } else { Schedule::OnRequest };
    Probes::default()
        .with_warnings("token", health::ALL, Schedule::Periodic, move || of_tokens(token.clone(), pin_files.clone()))
        .with("keys", health::OF_TRAINS, Schedule::OnRequest, move || {
            let (keys, config) = (fit.clone(), labels.clone());
            async move { fitness::of_trains(&keys, &config).await }
        })
        .with(station.images.kind().name, health::OF_IMAGES, of_images, move || check_images(Arc::clone(&images)))
        .with("trust", health::OF_TRAINS, Schedule::OnRequest, move || check_trust(Arc::clone(&trust)))
        .with("access", health::ALL, Schedule::OnRequest, move || {
            let authorizer = Arc::clone(&authorizer);
            async move { authorizer.check().await }
        })
        .with("audit", health::ALL, Schedule::OnRequest, move || {
            let audit = audit.clone();
            async move { audit.check().await.map_err(|error| format!("{error} ({})", error.hint())) }
        })
        .with("disk", health::OF_TRAINS, Schedule::OnRequest, move || disks.check())
}

/// Opens the service's log and records the start. Also returns the remembered head of the administrators' log: a log that was
/// created again, as after a move to another machine, records the old head once and then forgets it.
async fn open_audit(
    config: &Config,
    (parts, ledger): (&state::StateParts, &Ledger),
    administrators: Option<Remembered>,
) -> Result<(Audit, Option<Remembered>), ServerError> {
    let remembered = parts.remembered(ledger).await?;
    let keeper = ledger.clone();
    let remember = move |place: &Remembered| {
        let kept = keeper.remember_audit_blocking(LogOf::Service, &place.log, place.size, &place.head);
        kept.map_err(|error| error.to_string())
    };
    let settings = audit::Settings {
        directory: config.audit_directory(),
        log: audit::SERVICE,
        segment_bytes: config.audit.segment_mib << 20,
        reserve_bytes: config.audit.reserve_mib << 20,
        archive: config.audit.archive.clone(),
        second: config.audit.second.as_ref().and_then(config::MirrorConfig::sink),
        remembered: remembered.clone(),
        remember: Some(Remember::new(remember)),
    };
    let (audit, opened) = tokio::task::spawn_blocking(move || Audit::open(settings))
        .await
        .map_err(|error| ServerError::Setup(format!("opening the audit: {error}")))??;
    // Before anything is recorded.
    parts.check_ledger(ledger, &opened.unremembered).await?;
    if opened.torn_bytes > 0 {
        tracing::warn!(
            bytes = opened.torn_bytes,
            "the audit log ended with an incomplete record, which was never confirmed: it was removed"
        );
    }
    if opened.long_lines > 0 {
        tracing::warn!(
            lines = opened.long_lines,
            "the audit log contains lines above the present maximum length: they are part of its chain"
        );
    }
    let tls_key = config.tls_key().and_then(|uri| uri.object.clone());
    let keys = [&config.keys.train[..], &config.keys.general[..], std::slice::from_ref(&config.audit.key), tls_key.as_slice()];
    let started = Entry::of(Event::ServiceStarted)
        .with("station", config.station.as_str())
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("keys", keys.concat())
        .with("raw_use", config.keys.raw_use.clone())
        .with("trust", config.trust.mode.name());
    // A process with write access to the file, but without a key, could have changed these records and no others.
    let doubtful = [("unsigned_before", opened.unsigned), ("unremembered_before", opened.unremembered.records)];
    let started = doubtful.iter().filter(|(_, records)| *records > 0).fold(started, |started, (name, records)| {
        tracing::warn!(records, "{name}: records that only the chain protected while the service was not running");
        started.with(name, *records)
    });
    // A log that was moved away leaves a trace in the next one, and so does the administrators' log.
    let place = |place: &Remembered| format!("{} {}:{}", place.log, place.size, const_hex::encode(place.head));
    let before = remembered.filter(|remembered| remembered.log != audit.origin());
    let (started, administrators) = match &before {
        None => (started, administrators),
        Some(before) => {
            let started = started.with("log_before", place(before));
            match &administrators {
                Some(known) => (started.with("administrators_before", place(known)), None),
                None => (started, None),
            }
        }
    };
    audit.record_async(started).await?;
    Ok((audit, administrators))
}
