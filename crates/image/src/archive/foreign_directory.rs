//! Describes a directory that was given as an OCI layout and is not one, with the command that converts it.

use std::{fs, path::Path};

use crate::tar::file_kind::ROOTS;

/// Returns the kind of the directory and the remedy.
pub(super) fn describe(directory: &Path) -> String {
    let has = |name: &str| directory.join(name).exists();
    let shown = directory.display();
    let train = |at: &str| ["pht_train", "pht_results", "train_config.json"].iter().any(|name| has(&format!("{at}{name}")));
    if has("manifest.json") && has("version") {
        return format!(
            "it is an image as skopeo's `dir:` writes it: `skopeo copy dir:{shown} oci:LAYOUT` makes an OCI layout of it"
        );
    }
    if has("manifest.json") {
        return format!(
            "it is an archive of `docker save`, unpacked: name the archive, or pack it again: `tar -cf FILE -C {shown} .`"
        );
    }
    if has("index.json") && has("blobs") {
        return "it is an OCI layout without its file `oci-layout`, so not all of it was copied: `skopeo copy docker://IMAGE oci:LAYOUT`"
            .to_owned();
    }
    if ROOTS.iter().filter(|root| has(root)).count() >= 3 {
        return "it is a container's or an image's file system, unpacked: `docker commit CONTAINER IMAGE`, then `docker save IMAGE -o FILE`"
            .to_owned();
    }
    if train("opt/") {
        return format!("it holds the /opt of a train: `tar -cf FILE -C {shown} opt` packs it for the commands of `train`");
    }
    if train("") {
        return format!("it holds what is in a train's /opt: `tar -cf FILE -C {shown} .` packs it for the commands of `train`");
    }
    let below = fs::read_dir(directory).into_iter().flatten().flatten();
    if let Some(layout) = below.map(|entry| entry.path()).find(|path| path.join("oci-layout").exists()) {
        return format!("it holds OCI layouts and is none: name one of them, such as {}", layout.display());
    }
    "the directory holds no `oci-layout`: `skopeo copy docker://IMAGE oci:LAYOUT` makes an OCI layout, `docker save IMAGE -o FILE` an archive"
        .to_owned()
}
