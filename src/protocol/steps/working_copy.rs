//! Working copy of a run: the plaintext outside an image, written by pre-run, read by post-run and wiped by either.

use std::path::PathBuf;

use stationmaster_image::{
    ImageError,
    oci::reference::ImageId,
    opt::{
        reader::{TrainTreeSink, read_file, read_opt},
        train_dirs::TrainDir,
        working_dir::WorkingDir,
    },
    store::{
        ImageFiles, PendingRemoval,
        working_containers::{VolumeMount, WorkingContainers},
    },
};
use stationmaster_system::failpoint;
use stationmaster_train::{digest::Sha256Digest, names::FilePath, rule::Rule};

use crate::{
    ledger::{OpenInto, Run, RunId},
    protocol::{
        admission::station::Station,
        context::{call_context::CallContext, error::StepError},
    },
};

/// A mount for the run's container at one of the train's two directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The source of the content.
    pub source: MountSource,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the run must not write there: the code must be unchanged after the run.
    pub read_only: bool,
}

/// Source of mounted content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A volume of the engine, by name.
    Volume(String),
    /// A directory of this host.
    Directory(PathBuf),
}

/// The two directories, results first.
const AREAS: [TrainDir; 2] = [TrainDir::Results, TrainDir::Train];

/// Returns the mounts that the run's container needs; empty if the content is in an image.
pub(in crate::protocol) fn mounts(station: &Station, run: &Run) -> Result<Vec<Mount>, StepError> {
    let mount =
        |area: TrainDir, source| Mount { source, target: format!("/{}", area.path()), read_only: area == TrainDir::Train };
    Ok(match run.opened_into {
        OpenInto::Image => Vec::new(),
        OpenInto::Volume => AREAS.map(|area| mount(area, MountSource::Volume(volume_name(area, run.id)))).into(),
        OpenInto::Directory => {
            let directory = directory(station, run.id)?;
            AREAS.map(|area| mount(area, MountSource::Directory(directory.area(area)))).into()
        }
    })
}

/// Returns the station's working containers.
pub(in crate::protocol) fn containers(station: &Station) -> Result<&dyn WorkingContainers, ImageError> {
    station.containers.as_deref().ok_or(ImageError::NoEngine)
}

/// Returns the volumes of a run.
pub(in crate::protocol) fn volumes(run_id: RunId) -> [VolumeMount; 2] {
    AREAS.map(|area| VolumeMount { volume: volume_name(area, run_id), target: format!("/{}", area.path()) })
}

fn volume_name(area: TrainDir, run_id: RunId) -> String {
    format!("stationmaster-{run_id}-{}", area.name())
}

/// Returns the directory of a run.
pub(in crate::protocol) fn directory(station: &Station, run_id: RunId) -> Result<WorkingDir, StepError> {
    let shared = station.shared_directory.as_deref().ok_or(StepError::NoSharedDirectory)?;
    Ok(WorkingDir::of(shared, &run_id.to_string()))
}

/// The content after a run, at its location.
pub(in crate::protocol) enum RunOutput {
    /// In an image: the one after the run, or the base with the run's volumes mounted.
    Image(Box<dyn ImageFiles>),
    /// In the run's directory.
    Directory(WorkingDir),
}

impl RunOutput {
    /// Finds the content after a run; `image_id` is the image after the run, if the content is in one.
    pub(crate) fn of(station: &Station, run: &Run, image_id: Option<&ImageId>) -> Result<Self, StepError> {
        Ok(match run.opened_into {
            OpenInto::Image => {
                Self::Image(station.images.files(image_id.ok_or(StepError::Invariant("a run in an image without its id"))?)?)
            }
            OpenInto::Volume => Self::Image(containers(station)?.create(&run.base_image, &volumes(run.id))?),
            OpenInto::Directory => Self::Directory(directory(station, run.id)?),
        })
    }

    /// Releases it in the background while the caller continues.
    pub(crate) fn leave(self) -> PendingRemoval {
        match self {
            Self::Image(files) => files.remove_in_background(),
            Self::Directory(_) => PendingRemoval::default(),
        }
    }

    /// Reads all of it, in one pass.
    pub(crate) fn read(&self, sink: &mut dyn TrainTreeSink<Error = StepError>, step: &CallContext<'_>) -> Result<(), StepError> {
        match self {
            Self::Image(files) => read_opt(files.read("/opt", &step.cancel)?, sink)?,
            Self::Directory(directory) => directory.read(sink)?,
        };
        Ok(())
    }
}

/// Reads the query of an opened train again; it must still be the one that was verified.
pub(in crate::protocol) fn read_query(station: &Station, run: &Run, step: &CallContext<'_>) -> Result<Vec<u8>, StepError> {
    let query = FilePath::query();
    let bytes = match RunOutput::of(station, run, run.opened_image.as_ref())? {
        RunOutput::Image(files) => {
            let path = format!("/{}/{query}", TrainDir::Train.path());
            read_file(files.read(&path, &step.cancel)?, query.as_str().as_bytes())?
        }
        RunOutput::Directory(directory) => directory.read_small(TrainDir::Train, &query)?,
    };
    let now = Sha256Digest::of(&bytes);
    if run.immutable_files.iter().any(|file| file.path == query.as_str() && file.sha256 == now) {
        Ok(bytes)
    } else {
        Err(StepError::rule(Rule::ImmutableUnchanged, query.to_string()))
    }
}

/// Wipes the volumes or the directory of a run; those already removed are no error. Returns the names of those that still hold
/// plaintext.
pub(in crate::protocol) fn wipe(station: &Station, run: &Run) -> Result<Vec<String>, StepError> {
    let mut held = Vec::new();
    match run.opened_into {
        OpenInto::Image => {}
        OpenInto::Volume => {
            let containers = containers(station)?;
            for VolumeMount { volume, .. } in volumes(run.id) {
                match containers.remove_volume(&volume) {
                    Err(ImageError::InUse) => {
                        held.extend(containers.volume_users(&volume)?);
                        held.push(format!("volume:{volume}"));
                    }
                    other => other?,
                }
                failpoint::point("wipe/volume");
            }
        }
        OpenInto::Directory => {
            let directory = directory(station, run.id)?;
            failpoint::point("wipe/directory");
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
