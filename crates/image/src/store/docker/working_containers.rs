//! The engine's working containers and volumes.

use std::{collections::HashMap, time::Duration};

use bollard::{errors::Error as BollardError, models::VolumeCreateRequest, query_parameters as q};

use super::{Container, Engine, INSTANCE_LABEL, engine_error::fault};
use crate::{
    ImageError,
    oci::reference::ImageId,
    store::working_containers::{VolumeMount, WorkingContainer, WorkingContainers},
};

impl WorkingContainers for Engine {
    fn create(&self, image_id: &ImageId, volumes: &[VolumeMount]) -> Result<Box<dyn WorkingContainer>, ImageError> {
        Ok(Box::new(Container::create(self, image_id, volumes)?))
    }

    fn create_volume(&self, name: &str) -> Result<(), ImageError> {
        let labels = HashMap::from([(INSTANCE_LABEL.to_owned(), self.instance.to_string())]);
        let request = VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels), ..Default::default() };
        self.block(self.docker.create_volume(request)).map(drop).map_err(|e| fault("create volume", e))
    }

    fn remove_volume(&self, name: &str) -> Result<(), ImageError> {
        match self.block(self.docker.remove_volume(name, None::<q::RemoveVolumeOptions>)) {
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => Err(ImageError::InUse),
            Err(other) => Err(fault("remove volume", other)),
        }
    }

    fn volume_users(&self, name: &str) -> Result<Vec<String>, ImageError> {
        self.containers(HashMap::from([("volume".to_owned(), vec![name.to_owned()])]))
    }

    fn remove_stale(&self) -> Result<usize, ImageError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{INSTANCE_LABEL}={}", self.instance)])]);
        let left = self.containers(filters)?;
        for id in &left {
            self.remove_container(id)?;
        }
        Ok(left.len())
    }

    fn retry_pending_removals(&self) {
        let left = std::mem::take(&mut *self.left());
        for id in left {
            if let Err(error) = self.remove_container(&id) {
                tracing::debug!(container = %id, %error, "a container still cannot be removed");
                self.left().push(id);
            }
        }
    }

    fn load_grace_period(&self) -> Duration {
        Duration::from_secs(2)
    }
}
