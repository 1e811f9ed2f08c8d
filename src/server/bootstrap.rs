//! Startup and shutdown of a station: opens the token, assembles the services from the configuration and runs the server.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use stationmaster_keystore::{KeyConfig, Keystore, KeystoreConfig, Pkcs11Uri, TokenAccess, TokenStatus, pin};
use stationmaster_proto::{
    image_service_server::ImageServiceServer, key_service_server::KeyServiceServer, status_service_server::StatusServiceServer,
    train_service_server::TrainServiceServer,
};
use stationmaster_system::files::{FileThread, make_directory};
use tonic::service::Routes;

use super::{
    Addresses, Authorizer, Probes, ServerError, ServerParts, Shutdown,
    checkpoints::Checkpoints,
    disk, fitness,
    health::{self, Schedule},
    lock::Lock,
    manager::Manager,
    open_station::{check_images, check_trust, open_ledger, station},
    request_layer::bounds,
    run, signals,
};
use crate::{
    audit,
    audit::{Administrators, Audit, Entry, Event, Remember, Remembered},
    authz::{Access, Purpose},
    config,
    config::{Config, PinSetting, TokenConfig},
    ledger::{Ledger, LogOf},
    protocol::{AuditedKeys, KeyPurposes, Station, key_usage, keys_found},
    service::{images::Images, keys::Keys, refusals::Refusals, standing::Standing, steps::Steps, trains::Trains},
    state,
};

/// Timeout of the token's health check.
const TIMEOUT: Duration = Duration::from_secs(4);
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
    let opened = open_keystore(config).await.and_then(|keystore| {
        let raw_use = config.keys.raw_use.iter().cloned().collect();
        let keys = AuditedKeys::new(keystore, audit.clone(), key_purposes(config), raw_use);
        fitness::at_start(&keys.keys(), config).map(|()| keys)
    });
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
            let outcome = fitness::of_trains(&fit.keys(), &labels);
            async move { outcome }
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

/// Checks the tokens, and whether their PINs can be read for the next login. As long as the present logins last, the latter is a
/// warning, and so is a token that is away while others serve its keys.
async fn of_tokens(keys: AuditedKeys, pin_files: FileThread) -> health::Checked {
    let sources = keys.pin_sources();
    let pins = async {
        let checked = pin_files.run(move || sources.iter().try_for_each(|source| source.check())).await;
        let flaw = match checked {
            Err(stuck) => Some(format!("the PIN cannot be read: {stuck}")),
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.hint().map_or_else(|| error.to_string(), |hint| format!("{error} ({hint})"))),
        };
        flaw.map(|flaw| format!("{flaw}: the next login to the token will fail"))
    };
    let (checked, pins) = tokio::join!(keys.check(Some(Instant::now() + TIMEOUT)), pins);
    let warnings: Vec<_> = pins.into_iter().chain(keys.tokens().iter().filter_map(token_warning)).collect();
    match checked {
        Ok(()) if warnings.is_empty() => Ok(None),
        Ok(()) => Ok(Some(warnings.join("; "))),
        Err(error) => Err([error.to_string()].into_iter().chain(warnings).collect::<Vec<_>>().join("; ")),
    }
}

/// Returns what is wrong with a token, when the service can do without it.
fn token_warning(token: &TokenStatus) -> Option<String> {
    let name = &token.name;
    match &token.unavailable {
        Some(error) => Some(match error.hint() {
            Some(hint) => format!("the token {name:?} is away: {error} ({hint})"),
            None => format!("the token {name:?} is away: {error}"),
        }),
        None if token.hung > 0 => Some(format!("{} calls hang in the module of the token {name:?}", token.hung)),
        None => None,
    }
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

/// Opens the configured token: login, key search, self-test.
///
/// # Errors
/// When the token cannot be used as configured.
async fn open_keystore(config: &Config) -> Result<Keystore, ServerError> {
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let tokens = config.tokens.all().iter().map(|token| keystore_config(&config, token)).collect::<Result<_, _>>()?;
        Keystore::open_tokens(tokens).map_err(ServerError::from)
    });
    opened.await.map_err(|error| ServerError::Setup(format!("opening the token: {error}")))?
}

fn keystore_config(config: &Config, token: &TokenConfig) -> Result<KeystoreConfig, ServerError> {
    let key = |(label, purpose): (String, _)| {
        let uri = config.key_uris.get(&label);
        let here = uri.is_none_or(|uri| token.may_have(uri));
        here.then(|| KeyConfig { id: uri.and_then(|uri| uri.id.clone()), ..KeyConfig::new(label, key_usage(purpose)) })
    };
    let mut keys: Vec<_> = configured_keys(config).filter_map(key).collect();
    keys.extend(config.tls_key().filter(|uri| token.may_have(uri)).and_then(tls_key));
    Ok(KeystoreConfig {
        keys,
        allow_raw_unwrap: token.allow_raw_unwrap,
        allow_raw_sign: token.allow_raw_sign,
        sessions: token.sessions,
        queue: token.queue,
        call_timeout: Duration::from_secs(token.call_timeout_s),
        keep_alive: (token.keep_alive_s > 0).then(|| Duration::from_secs(token.keep_alive_s)),
        standby: token.standby,
        weight: token.weight,
        isolation: token.isolation(),
        ..KeystoreConfig::new(token_access(config, token)?)
    })
}

/// Returns the key that a URI names for TLS.
fn tls_key(uri: &Pkcs11Uri) -> Option<KeyConfig> {
    Some(KeyConfig { id: uri.id.clone(), ..KeyConfig::new(uri.object.clone()?, key_usage(Purpose::Tls)) })
}

/// Returns the configured keys with their purposes.
fn key_purposes(config: &Config) -> KeyPurposes {
    let tls_key = config.tls_key().and_then(|uri| uri.object.clone());
    configured_keys(config).chain(tls_key.map(|label| (label, Purpose::Tls))).collect()
}

/// Returns the keys that are looked for in every token.
fn configured_keys(config: &Config) -> impl Iterator<Item = (String, Purpose)> {
    let of = |labels: &[String], purpose| labels.iter().map(move |label| (label.clone(), purpose)).collect::<Vec<_>>();
    let keys = [
        of(&config.keys.train, Purpose::Train),
        of(&config.keys.general, Purpose::General),
        of(std::slice::from_ref(&config.audit.key), Purpose::Audit),
    ];
    keys.into_iter().flatten()
}

/// Returns a token of the configuration and its login.
///
/// # Errors
/// When no PIN is available.
pub fn token_access(config: &Config, token: &TokenConfig) -> Result<TokenAccess, ServerError> {
    let (mut file, mut credential, mut env, mut prompt) = (None, None, None, false);
    match token.pin() {
        PinSetting::File(path) => file = Some(path),
        PinSetting::Credential(name) => credential = Some(name),
        PinSetting::Env(name) => env = Some(name),
        PinSetting::Prompt => prompt = true,
    }
    Ok(TokenAccess {
        module: token.module(),
        token: token.selector(),
        pin: pin::resolve(file.as_deref(), env.as_deref(), credential.as_deref(), prompt)?,
        pin_latch: Some(pin_latch(config, token)?),
    })
}

/// Returns the file that remembers the token's rejected PINs. Of several tokens, each has its own in a directory of its own: logins with
/// one file take turns, and a token that hangs must not hold up another one's login. So has a token with a process of its own, which may
/// write to that directory and to no other part of the state.
pub(crate) fn pin_latch(config: &Config, token: &TokenConfig) -> Result<PathBuf, ServerError> {
    let state = &config.state.directory;
    let single = state.join("pin-latch");
    if config.tokens.all().len() == 1 && token.isolation().is_none() {
        return Ok(single);
    }
    let selector = token.selector();
    let name = openssl::sha::sha256(selector.to_string().as_bytes());
    let directory = state.join("tokens").join(const_hex::encode(&name[..8]));
    let latch = directory.join("pin-latch");
    if state.exists() && !latch.exists() {
        let failed = |error| ServerError::Setup(format!("creating {}: {error}", directory.display()));
        make_directory(&directory).map_err(failed)?;
        // From the time when there was one token. Its lines match no other token's PIN.
        if single.exists() {
            fs::copy(&single, &latch).map_err(failed)?;
        }
    }
    Ok(latch)
}
