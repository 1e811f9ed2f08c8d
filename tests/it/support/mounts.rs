//! Trains that are opened beside their image: in volumes and directories, mounted into the run's container.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use bollard::{
    models::{ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions},
    query_parameters as q,
};
use futures_util::TryStreamExt;
use stationmaster_proto as pb;
use stationmaster_proto::{OpenInto, mount::Source};

use super::{Engine, Refusal, Station, block_on, tamper};

/// Every place that a train can be opened into.
pub const EVERYWHERE: [OpenInto; 3] = [OpenInto::Image, OpenInto::Volume, OpenInto::Directory];
/// Those beside the image.
pub const BESIDE: [OpenInto; 2] = [OpenInto::Volume, OpenInto::Directory];

/// Runs an opened train, wherever it is: its own command, or a script in its place. What it leaves is where post-run looks.
/// The code can be written to, as an engine allows where it is not mounted read-only.
#[track_caller]
pub fn run_opened(engine: &Engine, opened: &pb::PreRunOutcome, script: Option<&str>, environment: &[&str]) {
    if let (true, Some(script)) = (opened.mounts.is_empty(), script) {
        tamper::run_script(engine, &opened.image, script);
        return;
    }
    assert!(!opened.mounts.is_empty(), "the peer runs trains that are images");
    let held = Held { engine, id: made(opened, script, environment) };
    let docker = tamper::docker();
    let ended = block_on(async {
        docker.start_container(&held.id, None).await?;
        docker.wait_container(&held.id, None).try_collect::<Vec<_>>().await
    });
    ended.expect("the run succeeds");
}

/// A container with the run's mounts, not started.
pub fn made(opened: &pb::PreRunOutcome, script: Option<&str>, environment: &[&str]) -> String {
    let mounts = opened.mounts.iter().map(|mount| {
        let (typ, source) = match mount.source.as_ref().expect("a source") {
            Source::Volume(name) => (MountType::VOLUME, name),
            Source::Directory(path) => (MountType::BIND, path),
        };
        let no_copy = MountVolumeOptions { no_copy: Some(true), ..Default::default() };
        Mount {
            typ: Some(typ),
            source: Some(source.clone()),
            target: Some(mount.target.clone()),
            volume_options: (typ == MountType::VOLUME).then_some(no_copy),
            ..Default::default()
        }
    });
    let body = ContainerCreateBody {
        image: Some(opened.image.clone()),
        cmd: script.map(|script| ["/bin/sh", "-euc", script].map(str::to_owned).to_vec()),
        env: Some(environment.iter().map(|&setting| setting.to_owned()).collect()),
        host_config: Some(HostConfig { mounts: Some(mounts.collect()), ..Default::default() }),
        network_disabled: Some(true),
        ..Default::default()
    };
    let options = q::CreateContainerOptionsBuilder::new().build();
    block_on(tamper::docker().create_container(Some(options), body)).expect("the engine creates a container").id
}

struct Held<'a> {
    engine: &'a Engine,
    id: String,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.engine.remove_container(&self.id);
    }
}

/// Volumes of a service's and directories of its runs: what is left of trains that were opened beside their image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// Run ids that have a directory.
    pub directories: Vec<String>,
}

impl Beside {
    /// Removes the volumes of a station's service that is gone.
    pub fn remove_volumes(station: &Station) {
        for volume in Self::of(station).volumes {
            let _ = block_on(tamper::docker().remove_volume(&volume, None::<q::RemoveVolumeOptions>));
        }
    }

    /// What there is of a station's now.
    pub fn of(station: &Station) -> Self {
        let label = format!("org.stationmaster.instance={}", tamper::instance(station));
        let filters = HashMap::from([("label", vec![label])]);
        let options = q::ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = block_on(tamper::docker().list_volumes(Some(options))).expect("the engine lists volumes");
        let mut volumes: Vec<String> = listed.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect();
        volumes.sort();
        let mut directories: Vec<String> = fs::read_dir(station.state().join("runs"))
            .map(|entries| entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        directories.sort();
        Self { volumes, directories }
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The files of a run that was opened into a directory: its results, its code.
pub fn files_in(opened: &pb::PreRunOutcome) -> [BTreeMap<String, Vec<u8>>; 2] {
    ["/opt/pht_results", "/opt/pht_train"].map(|target| {
        let mount = opened.mounts.iter().find(|mount| mount.target == target).expect("a mount");
        let Some(Source::Directory(path)) = &mount.source else { panic!("{mount:?} is no directory") };
        let mut files = BTreeMap::new();
        crate::support::train::read_tree(Path::new(path), "", &mut files).expect("the run's files");
        files
    })
}

impl Station {
    /// `PreRun` to a place, without an idempotency key.
    pub fn open_into(&self, image: &str, into: OpenInto) -> Result<pb::PreRunOutcome, Refusal> {
        self.pre_run_into(image, "", into)
    }
}
