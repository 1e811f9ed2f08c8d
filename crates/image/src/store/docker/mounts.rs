//! Mounts of a container: the volumes that hold an opened train, and what covers an image's own.

use bollard::models::{Mount, MountType, MountVolumeOptions};

use crate::{ImageError, store::working_containers::VolumeMount};

/// Returns the mount of a volume.
pub(super) fn mount(of: &VolumeMount) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(of.volume.clone()),
        target: Some(of.target.clone()),
        // Otherwise the engine fills an empty volume with the image's content at the target.
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..Default::default() }),
        ..Default::default()
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

#[cfg(test)]
mod tests {
    use crate::store::docker::mounts::*;

    #[test]
    fn every_volume_of_an_image_has_something_in_its_place_once() {
        let ours = [VolumeMount { volume: "v".into(), target: "/opt/pht_train".into() }];
        let of_image = ["/data", "/data/", "/a/./b/../c", "/opt/pht_train", "/", "/../x"].map(str::to_owned).into();
        let targets: Vec<String> = shadows(of_image, &ours).unwrap().filter_map(|mount| mount.target).collect();
        assert_eq!(targets, ["/a/c", "/data", "/x"]);
        assert!(shadows(vec!["relative".into()], &ours).is_err());
    }
}
