//! From a configuration to a running station: opens the token, makes the services, runs the outside around them.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tonic::service::Routes;

use super::{
    Addresses, Outside, Probes, ServerError, Shutdown,
    lock::Lock,
    run,
    station::{check_engine, check_trust, station},
};
use crate::{
    config::{Config, PinSetting},
    keystore::{KeyConfig, Keystore, KeystoreConfig, Purpose, TokenAccess, TokenSelector, pin},
    pb::{
        image_service_server::ImageServiceServer, key_service_server::KeyServiceServer, train_service_server::TrainServiceServer,
    },
    service::{
        images::Images,
        keys::{Keys, Policy},
        steps::Steps,
        trains::Trains,
    },
    state,
};

/// How long the token may take to answer health.
const PATIENCE: Duration = Duration::from_secs(4);

/// Runs one station until it is told to end. It holds its state directory's lock until then.
///
/// # Errors
/// When any part of it cannot be had.
pub async fn serve(config: Config, _lock: Lock, ready: impl FnOnce(&Addresses) + Send + 'static) -> Result<(), ServerError> {
    let keystore = open_keystore(&config).await?;
    let shutdown = Shutdown::default();

    let message_limit = config.limits.request_bytes;
    let station = station(&config, keystore.clone()).await?;
    let ledger = station.ledger.clone();
    let steps = Steps::new(Arc::clone(&station), config.limits.runs, shutdown.cancel.clone());
    let policy = Policy { raw_use: config.keys.raw_use.iter().cloned().collect() };
    let keys = KeyServiceServer::new(Keys::new(keystore.clone(), policy)).max_decoding_message_size(message_limit);
    let images = ImageServiceServer::new(Images::new(steps.clone())).max_decoding_message_size(message_limit);
    let trains = TrainServiceServer::new(Trains::new(steps.clone())).max_decoding_message_size(message_limit);
    let services = Routes::new(keys).add_service(images).add_service(trains);

    let (token, engine) = (keystore.clone(), Arc::clone(&station));
    let probes = Probes::new(
        move || {
            let token = token.clone();
            async move { token.check(Some(Instant::now() + PATIENCE)).await }
        },
        move || {
            let station = Arc::clone(&engine);
            async move { check_engine(station).await }
        },
        move || {
            let station = Arc::clone(&station);
            async move { check_trust(station).await }
        },
    );

    let outside = Outside { services, probes, listen: config.listen.clone(), limits: config.limits.clone(), shutdown };
    let ended = run(outside, ready).await;
    // A step that was cancelled still undoes what it did; its connections to engine and token must outlive that.
    steps.ended().await;
    // What is committed is in one file then: who copies it by hand misses nothing.
    ledger.close().await;
    // Joins the workers before the library is finalised: a token's library crashes when it is closed under a running call.
    let _ = tokio::task::spawn_blocking(move || keystore.close()).await;
    ended
}

/// Opens the configured token: login, key search, self-test.
///
/// # Errors
/// When the token cannot be used as configured.
pub async fn open_keystore(config: &Config) -> Result<Keystore, ServerError> {
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let settings = keystore_config(&config)?;
        Keystore::open(settings).map_err(ServerError::from)
    });
    opened.await.map_err(|error| ServerError::Setup(format!("opening the token: {error}")))?
}

fn keystore_config(config: &Config) -> Result<KeystoreConfig, ServerError> {
    let purposes = [(Purpose::Train, &config.keys.train), (Purpose::General, &config.keys.general)];
    let TokenAccess { module, token, pin, pin_latch } = token_access(config)?;
    Ok(KeystoreConfig {
        module,
        token,
        pin,
        pin_latch,
        keys: purposes
            .into_iter()
            .flat_map(|(purpose, labels)| labels.iter().map(move |label| KeyConfig { label: label.clone(), purpose }))
            .collect(),
        allow_raw_unwrap: config.token.allow_raw_unwrap,
        sessions: config.token.session_count(),
        queue: config.token.queue,
    })
}

/// The configured token and the right to log in to it.
///
/// # Errors
/// When there is no PIN.
pub fn token_access(config: &Config) -> Result<TokenAccess, ServerError> {
    let (mut file, mut credential, mut env, mut prompt) = (None, None, None, false);
    match config.token.pin() {
        PinSetting::File(path) => file = Some(path),
        PinSetting::Credential(name) => credential = Some(name),
        PinSetting::Env(name) => env = Some(name),
        PinSetting::Prompt => prompt = true,
    }
    Ok(TokenAccess {
        module: config.token.module.clone(),
        token: TokenSelector { label: config.token.label.clone(), serial: config.token.serial.clone() },
        pin: pin::resolve(file.as_deref(), env.as_deref(), credential.as_deref(), prompt)?,
        pin_latch: Some(config.state.directory.join("pin-latch")),
    })
}

/// Makes the state directory where there is none, and takes its lock.
///
/// # Errors
/// When another service holds it, or it cannot be made.
pub fn lock_state(directory: &Path) -> Result<Lock, ServerError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| ServerError::io(format!("cannot make {}", directory.display()), error))?;
    Lock::take(&directory.join(state::LOCK), &format!("the state directory {}", directory.display()))
}
