//! Temporary containers for reading from and writing to images: never started, removed on every exit path.

use std::collections::HashMap;

use bollard::{
    Docker, body_try_stream,
    models::{ContainerCreateBody, HostConfig, Mount},
    query_parameters as q,
};
use tokio_util::sync::CancellationToken;

use super::{
    Engine, EngineReader, EngineWriter, INSTANCE_LABEL,
    engine_error::fault,
    mounts::{mount, shadows},
};
use crate::{
    ImageError,
    oci::reference::ImageId,
    opt::files::{FilesReader, ImageFiles, PendingRemoval},
    store::{
        recipe::{LayerSource, WriteError},
        working_containers::{VolumeMount, WorkingContainer},
    },
};

/// A container that is never started; removed on drop.
pub struct Container {
    engine: Engine,
    id: String,
}

impl Container {
    /// Creates a container of an image with volumes in it.
    pub(super) fn create(engine: &Engine, image_id: &ImageId, volumes: &[VolumeMount]) -> Result<Self, ImageError> {
        let mut mounts: Vec<Mount> = volumes.iter().map(mount).collect();
        let image = engine.block(engine.docker.inspect_image(&image_id.to_string())).map_err(|e| fault("inspect image", e))?;
        let of_image = image.config.and_then(|config| config.volumes).unwrap_or_default();
        mounts.extend(shadows(of_image, volumes)?);
        let body = ContainerCreateBody {
            image: Some(image_id.to_string()),
            labels: Some(HashMap::from([(INSTANCE_LABEL.to_owned(), engine.instance.to_string())])),
            // The engine creates no container of an image without a command. The command is never run.
            cmd: Some(vec!["/never-started".to_owned()]),
            entrypoint: Some(vec![]),
            network_disabled: Some(true),
            host_config: Some(HostConfig { mounts: Some(mounts), ..Default::default() }),
            ..Default::default()
        };
        let name = format!("stationmaster-{}", uuid::Uuid::now_v7().simple());
        let options = q::CreateContainerOptionsBuilder::new().name(&name).build();
        let made = engine.block(engine.docker.create_container(Some(options), body)).map_err(|e| fault("create container", e));
        match made {
            Ok(made) => Ok(Self { engine: engine.clone(), id: made.id }),
            Err(error) => {
                if matches!(error, ImageError::EngineUnavailable(_)) {
                    // The response was lost; the container may exist nevertheless.
                    engine.left().push(name);
                }
                Err(error)
            }
        }
    }
}

impl ImageFiles for Container {
    fn read(&self, path: &str, cancel: &CancellationToken) -> Result<FilesReader, ImageError> {
        let options = q::DownloadFromContainerOptionsBuilder::new().path(path).build();
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        Ok(Box::new(EngineReader::start(move || docker.download_from_container(&id, Some(options)), cancel)?))
    }

    fn remove_in_background(mut self: Box<Self>) -> PendingRemoval {
        let (mut id, engine) = (std::mem::take(&mut self.id), self.engine.clone());
        let task = engine.handle.spawn(removed(engine.docker.clone(), id.clone()));
        PendingRemoval::new(move || {
            let broken = |_| ImageError::EngineUnavailable("remove container: it broke off".into());
            let outcome = engine.handle.block_on(task).map_err(broken).flatten();
            engine.not_removed(&mut id, outcome);
        })
    }
}

impl WorkingContainer for Container {
    fn write(&self, archive: &mut dyn LayerSource, cancel: &CancellationToken) -> Result<(), WriteError> {
        let (docker, id) = (self.engine.docker.clone(), self.id.clone());
        let mut writer = EngineWriter::start(self.engine.handle.clone(), cancel, |pieces| async move {
            let options = q::UploadToContainerOptionsBuilder::new().path("/").build();
            docker.upload_to_container(&id, Some(options), body_try_stream(pieces)).await.map_err(|e| fault("write archive", e))
        });
        archive.write(&mut writer)?;
        Ok(writer.finish()?)
    }

    fn file_size(&self, path: &str) -> Result<u64, ImageError> {
        let options = q::ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let asked = self.engine.block(self.engine.docker.get_container_archive_info(&self.id, Some(options)));
        match asked.map_err(|e| fault("stat archive", e)) {
            Ok(file) => Ok(u64::try_from(file.size).unwrap_or(0)),
            Err(ImageError::NotFound) => Err(ImageError::PathMissing),
            Err(other) => Err(other),
        }
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

pub(super) async fn removed(docker: Docker, id: String) -> Result<(), ImageError> {
    let options = q::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(&id, Some(options)).await.map_err(|e| fault("remove container", e)) {
        Err(ImageError::NotFound) => Ok(()),
        other => other,
    }
}
