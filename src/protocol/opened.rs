//! Where a run's opened content is when it is not in an image: the places pre-run writes, post-run reads, and both wipe.

use std::path::PathBuf;

use super::{
    StepError,
    station::{Station, Step},
};
use crate::{
    crash,
    image::{
        ImageError,
        directory::OpenedDirectory,
        docker::{Leaving, VolumeMount},
        opt::{Area, OptSink, read_file, read_opt},
        store::ImageFiles,
    },
    ledger::{OpenInto, Run},
    train::{digest::FileHasher, names::FilePath},
};

/// What the container of a run gets at one of the train's two directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where the content is.
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the run has no business writing there: the code must come back as it was.
    pub read_only: bool,
}

/// Where mounted content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A volume of the engine's, by name.
    Volume(String),
    /// A directory of this host.
    Directory(PathBuf),
}

/// The two directories, results first.
const AREAS: [Area; 2] = [Area::Results, Area::Train];

/// What the container of a run is to be started with; nothing where the content is in an image.
pub(super) fn mounts(station: &Station, run: &Run) -> Result<Vec<Mount>, StepError> {
    let mount = |area: Area, source| Mount { source, target: format!("/{}", area.path()), read_only: area == Area::Train };
    Ok(match run.opened_into {
        OpenInto::Image => Vec::new(),
        OpenInto::Volume => AREAS.map(|area| mount(area, MountSource::Volume(volume_name(area, &run.id)))).into(),
        OpenInto::Directory => {
            let directory = directory(station, &run.id)?;
            AREAS.map(|area| mount(area, MountSource::Directory(directory.area(area)))).into()
        }
    })
}

/// The volumes of a run.
pub(super) fn volumes(run_id: &str) -> [VolumeMount; 2] {
    AREAS.map(|area| VolumeMount { volume: volume_name(area, run_id), target: format!("/{}", area.path()) })
}

fn volume_name(area: Area, run_id: &str) -> String {
    format!("stationmaster-{run_id}-{}", area.name())
}

/// The directory of a run.
pub(super) fn directory(station: &Station, run_id: &str) -> Result<OpenedDirectory, StepError> {
    let shared = station.shared_directory.as_deref().ok_or(StepError::NoSharedDirectory)?;
    Ok(OpenedDirectory::of(shared, run_id))
}

/// What a run left, wherever it is.
pub(super) enum Left {
    /// In an image: the one after the run, or the base with the run's volumes in it.
    Image(ImageFiles),
    /// In the run's directory.
    Directory(OpenedDirectory),
}

impl Left {
    /// Finds what a run left; `image_id` is the image after the run, where the content is in one.
    pub fn of(station: &Station, run: &Run, image_id: &str) -> Result<Self, StepError> {
        Ok(match run.opened_into {
            OpenInto::Image => Self::Image(station.images.files(image_id)?),
            OpenInto::Volume => {
                let engine = station.images.engine()?;
                Self::Image(ImageFiles::Engine(engine.container_with(&run.base_image, &volumes(&run.id))?))
            }
            OpenInto::Directory => Self::Directory(directory(station, &run.id)?),
        })
    }

    /// Lets go of it while the caller goes on.
    pub fn leave(self) -> Option<Leaving> {
        match self {
            Self::Image(files) => files.leave(),
            Self::Directory(_) => None,
        }
    }

    /// Reads all of it, once.
    pub fn read(&self, sink: &mut dyn OptSink<Error = StepError>, step: &Step<'_>) -> Result<(), StepError> {
        match self {
            Self::Image(files) => read_opt(files.read("/opt", &step.cancel)?, sink)?,
            Self::Directory(directory) => directory.read(sink)?,
        };
        Ok(())
    }
}

/// Reads the query of an opened train again; it must still be the one that was verified.
pub(super) fn read_query(station: &Station, run: &Run, step: &Step<'_>) -> Result<Vec<u8>, StepError> {
    let query = FilePath::query();
    let opened = run.opened_image.as_deref().unwrap_or_default();
    let bytes = match Left::of(station, run, opened)? {
        Left::Image(files) => {
            let path = format!("/{}/{query}", Area::Train.path());
            read_file(files.read(&path, &step.cancel)?, query.as_str().as_bytes())?
        }
        Left::Directory(directory) => directory.read_small(Area::Train, &query)?,
    };
    let mut hasher = FileHasher::new();
    hasher.update(&bytes);
    let now = const_hex::encode(hasher.finish());
    if run.immutable_files.iter().any(|file| file.path == query.as_str() && file.sha256 == now) {
        Ok(bytes)
    } else {
        Err(ImageError::Policy { rule: "immutable-files-unchanged", detail: query.to_string() }.into())
    }
}

/// Wipes volumes or directory of a run; what is gone already is no error. Answers what still holds plaintext.
pub(super) fn wipe(station: &Station, run: &Run) -> Result<Vec<String>, StepError> {
    let mut held = Vec::new();
    match run.opened_into {
        OpenInto::Image => {}
        OpenInto::Volume => {
            let engine = station.images.engine()?;
            for VolumeMount { volume, .. } in volumes(&run.id) {
                match engine.remove_volume(&volume) {
                    Err(ImageError::InUse) => {
                        held.extend(engine.volume_holders(&volume)?);
                        held.push(format!("volume:{volume}"));
                    }
                    other => other?,
                }
                crash::point("wipe/volume");
            }
        }
        OpenInto::Directory => {
            let directory = directory(station, &run.id)?;
            crash::point("wipe/directory");
            if let Err(error) = directory.remove() {
                tracing::error!(run = %run.id, %error, "the directory of a run could not be wiped");
                held.push(format!("directory:{}", directory.path().display()));
            }
        }
    }
    held.sort();
    held.dedup();
    Ok(held)
}
