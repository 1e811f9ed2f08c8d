//! Client of the Docker engine: every call that a step needs, as plain blocking functions.
//!
//! Containers are only created, never started, to read an image through the archive call. Each has a label with this
//! service's instance id and is removed when its guard is dropped. Images are written as one archive (`load`).

mod body_reader;
mod body_writer;
mod container;
mod engine_error;
pub(crate) mod full_load;
mod images;
mod load;
mod mounts;
mod transport;
mod working_containers;

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bollard::{Docker, body_try_stream, query_parameters as q};
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::engine_error::{fault, said};
pub use self::{
    body_reader::EngineReader,
    body_writer::{EngineWriter, Loaded},
    container::Container,
    transport::client,
};
use crate::{ImageError, oci::reference::ImageId};

/// Label that names the service instance a container belongs to.
pub const INSTANCE_LABEL: &str = "org.stationmaster.instance";

/// A connection to the engine. Cheap to clone. Its blocking functions must not be called from async code.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    handle: Handle,
    /// Where it is, for messages.
    place: Arc<str>,
    instance: Arc<str>,
    /// Containers whose removal failed, by id or name.
    left: Arc<Mutex<Vec<String>>>,
    /// Whether archives with only the new layer may be sent.
    partial_load: bool,
    /// Whether the engine has refused such an archive.
    partial_refused: Arc<AtomicBool>,
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineReport {
    /// Its name and version.
    pub version: String,
    /// The version of its API.
    pub api: String,
    /// The storage driver.
    pub storage: String,
}

/// Whether an archive with only the new layer is sent, or the whole image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialLoad {
    /// It is sent, and the whole image if it is refused.
    Try,
    /// This engine refused it before.
    Refused,
    /// The configuration forbids it.
    Never,
}

impl Engine {
    /// Creates a client for the engine's Unix socket. No request is sent before [`ImageStore::check`](super::ImageStore::check), and
    /// the socket need not exist yet.
    ///
    /// `instance` is this service's id, for the label; `timeout` bounds the silence within one call.
    ///
    /// # Errors
    /// When the client cannot be created.
    pub fn new(socket: &str, timeout: Duration, instance: &str, handle: Handle) -> Result<Self, ImageError> {
        Ok(Self {
            docker: client(socket.strip_prefix("unix://").unwrap_or(socket), timeout).map_err(|error| fault("connect", error))?,
            handle,
            place: format!("the engine at {socket}").into(),
            instance: instance.into(),
            left: Arc::default(),
            partial_load: true,
            partial_refused: Arc::default(),
        })
    }

    /// Sets whether archives with only the new layer may be sent; the default is true.
    #[must_use]
    pub fn with_partial_load(self, allowed: bool) -> Self {
        Self { partial_load: allowed, ..self }
    }

    /// Returns whether an archive with only the new layer is to be sent.
    pub fn partial_load(&self) -> PartialLoad {
        match (self.partial_load, self.partial_refused.load(Ordering::Acquire)) {
            (false, _) => PartialLoad::Never,
            (true, true) => PartialLoad::Refused,
            (true, false) => PartialLoad::Try,
        }
    }

    /// Records that this engine accepts whole images only: for this connection and all its clones.
    pub(crate) fn partial_load_refused(&self) {
        self.partial_refused.store(true, Ordering::Release);
    }

    /// Returns what the engine says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn report(&self) -> Result<EngineReport, ImageError> {
        let docker = self.block(self.docker.clone().negotiate_version()).map_err(|error| fault("version", error))?;
        let version = self.block(docker.version()).map_err(|error| fault("version", error))?;
        let info = self.block(docker.info()).map_err(|error| fault("info", error))?;
        let unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
        let name = version.platform.map_or_else(|| "engine".to_owned(), |platform| platform.name);
        Ok(EngineReport {
            version: format!("{name} {}", unknown(version.version)).trim().to_owned(),
            api: unknown(version.api_version),
            storage: unknown(info.driver),
        })
    }

    fn block<T>(&self, call: impl Future<Output = T>) -> T {
        self.handle.block_on(call)
    }

    /// Records a container that still exists: its removal is retried when the engine is available again. After a crash the next
    /// start's sweep finds it by its label.
    fn not_removed(&self, id: &mut String, outcome: Result<(), ImageError>) {
        if let Err(error) = outcome {
            tracing::warn!(container = %id, %error, "a container could not be removed");
            self.left().push(std::mem::take(id));
        }
    }

    fn left(&self) -> MutexGuard<'_, Vec<String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn containers(&self, filters: HashMap<String, Vec<String>>) -> Result<Vec<String>, ImageError> {
        let options = q::ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let list = self.block(self.docker.list_containers(Some(options))).map_err(|e| fault("list containers", e))?;
        Ok(list.into_iter().filter_map(|container| container.id).collect())
    }

    fn remove_container(&self, id: &str) -> Result<(), ImageError> {
        self.block(container::removed(self.docker.clone(), id.to_owned()))
    }

    /// Reads a whole image as `docker save` returns it.
    pub fn save(&self, id: &ImageId, cancel: &CancellationToken) -> Result<EngineReader, ImageError> {
        let (docker, id) = (self.docker.clone(), id.to_string());
        EngineReader::start(move || docker.export_image(&id), cancel)
    }

    /// Begins to write an image: the archive written to the writer is loaded by the engine. Once it is finished, the second value
    /// contains the ids that the engine reported.
    pub fn load(&self, cancel: &CancellationToken) -> Result<(EngineWriter, Loaded), ImageError> {
        let (docker, loaded) = (self.docker.clone(), Loaded::default());
        let made = loaded.clone();
        let writer = EngineWriter::start(self.handle.clone(), cancel, |pieces| async move {
            let options = q::ImportImageOptionsBuilder::new().quiet(true).build();
            let mut answers = std::pin::pin!(docker.import_image(options, body_try_stream(pieces), None));
            while let Some(answer) = answers.next().await {
                let answer = answer.map_err(|e| fault("load image", e))?;
                if let Some(detail) = answer.error_detail.and_then(|detail| detail.message) {
                    return Err(said("load image", None, &detail));
                }
                if let Some(said) = answer.stream {
                    made.note(&said);
                }
            }
            Ok(())
        });
        Ok((writer, loaded))
    }
}
