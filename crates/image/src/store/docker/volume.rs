//! Volumes of the engine that hold an opened train.

use std::collections::HashMap;

use bollard::{
    errors::Error as BollardError,
    models::{Mount, MountType, MountVolumeOptions, VolumeCreateRequest},
    query_parameters as q,
};

use super::{Engine, INSTANCE_LABEL, engine_error::fault};
use crate::ImageError;

/// A volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// The volume's name.
    pub volume: String,
    /// Absolute path in the container.
    pub target: String,
}

impl VolumeMount {
    pub(super) fn mount(&self) -> Mount {
        Mount {
            typ: Some(MountType::VOLUME),
            source: Some(self.volume.clone()),
            target: Some(self.target.clone()),
            // Otherwise the engine fills an empty volume with the image's content at the target.
            volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
            ..Default::default()
        }
    }
}

/// Returns mounts that prevent the engine from creating an image's own volumes, as `VOLUME` asks for, and from copying the
/// image's content into them: each path gets another mount. In a container that is never started these are not visible.
///
/// # Errors
/// When the image has a volume at a path that is not absolute: engines create and fill it, and accept no other mount there.
pub(super) fn shadows(of_image: Vec<String>, ours: &[VolumeMount]) -> Result<impl Iterator<Item = Mount>, ImageError> {
    if of_image.iter().any(|target| !target.starts_with('/')) {
        return Err(ImageError::Malformed(
            "a VOLUME whose path is not absolute: an engine would copy it for every look at the image",
        ));
    }
    let mut targets: Vec<String> = of_image.iter().filter_map(|target| cleaned(target)).collect();
    targets.sort_unstable();
    targets.dedup();
    targets.retain(|target| ours.iter().all(|mount| mount.target != *target));
    Ok(targets.into_iter().map(|target| Mount { typ: Some(MountType::TMPFS), target: Some(target), ..Default::default() }))
}

/// Returns a path in the engine's normal form; `None` if engines reject it.
fn cleaned(target: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in target.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| format!("/{}", parts.join("/")))
}

impl Engine {
    /// Creates an empty volume. An existing one is not an error.
    pub fn make_volume(&self, name: &str) -> Result<(), ImageError> {
        let labels = HashMap::from([(INSTANCE_LABEL.to_owned(), self.instance.to_string())]);
        let request = VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels), ..Default::default() };
        self.block(self.docker.create_volume(request)).map(drop).map_err(|e| fault("create volume", e))
    }

    /// Removes a volume with its content. A missing one is not an error; [`ImageError::InUse`] if a container uses it.
    pub fn remove_volume(&self, name: &str) -> Result<(), ImageError> {
        match self.block(self.docker.remove_volume(name, None::<q::RemoveVolumeOptions>)) {
            Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => Err(ImageError::InUse),
            Err(other) => Err(fault("remove volume", other)),
        }
    }

    /// Returns the ids of the containers that use a volume.
    pub fn volume_holders(&self, name: &str) -> Result<Vec<String>, ImageError> {
        self.containers(HashMap::from([("volume".to_owned(), vec![name.to_owned()])]))
    }
}

#[cfg(test)]
mod tests {
    use crate::store::docker::volume::*;

    #[test]
    fn every_volume_of_an_image_has_something_in_its_place_once() {
        let ours = [VolumeMount { volume: "v".into(), target: "/opt/pht_train".into() }];
        let of_image = ["/data", "/data/", "/a/./b/../c", "/opt/pht_train", "/", "/../x"].map(str::to_owned).into();
        let targets: Vec<String> = shadows(of_image, &ours).unwrap().filter_map(|mount| mount.target).collect();
        assert_eq!(targets, ["/a/c", "/data", "/x"]);
        assert!(shadows(vec!["relative".into()], &ours).is_err());
    }
}
