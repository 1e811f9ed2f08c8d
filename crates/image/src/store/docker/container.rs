//! Temporary containers for reading from and writing to images: never started, removed on every exit path.

use bollard::{Docker, body_try_stream, query_parameters as q};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Engine, EngineReader, EngineWriter, engine_error::fault};
use crate::ImageError;

/// A container that is never started; removed on drop.
pub struct Container {
    pub(super) engine: Engine,
    pub(super) id: String,
}

impl Container {
    /// Reads a path of the container as a tar archive.
    pub fn read(&self, path: &str, cancel: &CancellationToken) -> Result<EngineReader, ImageError> {
        let options = q::DownloadFromContainerOptionsBuilder::new().path(path).build();
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        EngineReader::start(move || docker.download_from_container(&id, Some(options)), cancel)
    }

    /// Returns the size of a file of the container, as the engine knows it; [`ImageError::PathMissing`] if it does not exist.
    pub fn file_size(&self, path: &str) -> Result<u64, ImageError> {
        let options = q::ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let asked = self.engine.block(self.engine.docker.get_container_archive_info(&self.id, Some(options)));
        match asked.map_err(|e| fault("stat archive", e)) {
            Ok(file) => Ok(u64::try_from(file.size).unwrap_or(0)),
            Err(ImageError::NotFound) => Err(ImageError::PathMissing),
            Err(other) => Err(other),
        }
    }

    /// Begins to write into the container: the writer takes an archive of paths below its root.
    pub fn write(&self, cancel: &CancellationToken) -> Result<EngineWriter, ImageError> {
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        Ok(EngineWriter::start(self.engine.handle.clone(), cancel, |pieces| async move {
            let options = q::UploadToContainerOptionsBuilder::new().path("/").build();
            docker.upload_to_container(&id, Some(options), body_try_stream(pieces)).await.map_err(|e| fault("write archive", e))
        }))
    }
}

impl Container {
    /// Removes the container in the background.
    pub fn leave(mut self) -> PendingRemoval {
        let id = std::mem::take(&mut self.id);
        let task = self.engine.handle.spawn(removed(self.engine.docker.clone(), id.clone()));
        PendingRemoval { engine: self.engine.clone(), id, task: Some(task) }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            let outcome = self.engine.remove_container(&self.id);
            self.engine.not_removed(&mut self.id, outcome);
        }
    }
}

/// A container that is being removed. Dropping this waits for the removal.
pub struct PendingRemoval {
    engine: Engine,
    id: String,
    task: Option<JoinHandle<Result<(), ImageError>>>,
}

impl Drop for PendingRemoval {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        let broken = |_| ImageError::EngineUnavailable("remove container: it broke off".into());
        let outcome = self.engine.handle.block_on(task).map_err(broken).flatten();
        self.engine.not_removed(&mut self.id, outcome);
    }
}

pub(super) async fn removed(docker: Docker, id: String) -> Result<(), ImageError> {
    let options = q::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(&id, Some(options)).await.map_err(|e| fault("remove container", e)) {
        Err(ImageError::NotFound) => Ok(()),
        other => other,
    }
}
