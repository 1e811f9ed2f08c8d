//! What an adversary does to a train between stations, and what a run does to it at one.

use std::{collections::BTreeSet, fs, io::Read};

use bollard::{
    Docker,
    models::{ContainerConfig, ContainerCreateBody},
    query_parameters as q,
};
use futures_util::TryStreamExt;
use serde_json::Value;
use tar::EntryType;

use super::{
    Engine, Refusal, Snapshot, Station, Train, block_on,
    mounts::{BESIDE, Beside},
};

/// Where a train says what it is.
pub const CONFIG: &str = "opt/train_config.json";

/// One entry of an image's file system. Paths have no slash at either end.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: String,
    pub kind: EntryType,
    pub mode: u32,
    pub link: String,
    pub content: Vec<u8>,
    /// PAX records, by their whole name.
    pub pax: Vec<(String, Vec<u8>)>,
}

/// An image's whole file system, to be changed and put back as an image of one layer.
#[derive(Clone, Debug, Default)]
pub struct Rootfs(Vec<Entry>);

impl From<Vec<Entry>> for Rootfs {
    fn from(entries: Vec<Entry>) -> Self {
        Self(entries)
    }
}

impl Rootfs {
    /// All of them.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// What a container of `image` would see.
    pub fn of(engine: &Engine, image: &str) -> Self {
        let held = engine.hold(image, &[]);
        let archive: Vec<bytes::Bytes> =
            block_on(docker().export_container(&held.id).try_collect()).expect("the engine exports a container");
        Self::read(&archive.concat())
    }

    /// A tar's entries.
    pub fn read(archive: &[u8]) -> Self {
        let mut archive = tar::Archive::new(archive);
        let entry = |entry: std::io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.expect("an entry");
            let mut pax = Vec::new();
            if let Some(records) = entry.pax_extensions().expect("PAX records") {
                for record in records {
                    let record = record.expect("a PAX record");
                    pax.push((record.key().expect("a name").to_owned(), record.value_bytes().to_vec()));
                }
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a name in UTF-8");
            Entry {
                path: text(&entry.path_bytes()).trim_end_matches('/').to_owned(),
                kind: entry.header().entry_type(),
                mode: entry.header().mode().expect("a mode"),
                link: entry.link_name_bytes().map(|name| text(&name)).unwrap_or_default(),
                content,
                pax,
            }
        };
        Self(archive.entries().expect("a tar").map(entry).collect())
    }

    /// The entry at a path.
    #[track_caller]
    pub fn entry(&mut self, path: &str) -> &mut Entry {
        let found = self.0.iter_mut().find(|entry| entry.path == path);
        found.unwrap_or_else(|| panic!("the image has no {path}"))
    }

    /// Whether there is an entry at a path.
    pub fn has(&self, path: &str) -> bool {
        self.0.iter().any(|entry| entry.path == path)
    }

    /// A file's content.
    #[track_caller]
    pub fn content(&mut self, path: &str) -> &mut Vec<u8> {
        &mut self.entry(path).content
    }

    /// Paths of everything below a directory.
    pub fn below(&self, directory: &str) -> BTreeSet<String> {
        let name = |entry: &Entry| Some(entry.path.strip_prefix(directory)?.strip_prefix('/')?.to_owned());
        self.0.iter().filter_map(name).collect()
    }

    /// The train's code: paths, modes, and whether a file has extended attributes.
    pub fn code(&self) -> Vec<(&str, u32, bool)> {
        let code = self.0.iter().filter(|entry| entry.path.starts_with("opt/pht_train/") && entry.kind == EntryType::Regular);
        code.map(|entry| {
            let has_attributes = entry.pax.iter().any(|(name, _)| name.starts_with("SCHILY.xattr."));
            (entry.path.as_str(), entry.mode, has_attributes)
        })
        .collect()
    }

    /// Takes a path away, with all below it.
    #[track_caller]
    pub fn remove(&mut self, path: &str) {
        let before = self.0.len();
        self.0.retain(|entry| entry.path != path && !entry.path.starts_with(&format!("{path}/")));
        assert!(self.0.len() < before, "the image has no {path}");
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: &str, content: &[u8]) {
        self.add(path, EntryType::Regular, "");
        content.clone_into(self.content(path));
    }

    /// Adds what is not a plain file.
    pub fn add(&mut self, path: &str, kind: EntryType, link: &str) {
        let mode = if kind == EntryType::Directory { 0o755 } else { 0o644 };
        self.0.push(Entry { path: path.into(), kind, mode, link: link.into(), content: Vec::new(), pax: Vec::new() });
    }

    /// The train's config.
    #[track_caller]
    pub fn config(&mut self) -> Value {
        serde_json::from_slice(self.content(CONFIG)).expect("a config")
    }

    /// Changes the train's config.
    #[track_caller]
    pub fn edit_config(&mut self, change: impl FnOnce(&mut Value)) {
        let mut config = self.config();
        change(&mut config);
        *self.content(CONFIG) = config.to_string().into_bytes();
    }

    /// Makes an image of it; `repository:tag` then names it. Answers its id.
    pub fn put(&self, engine: &Engine, repository: &str, tag: &str) -> String {
        engine.import(self.tar(), repository, tag)
    }

    /// What is at a path and below it.
    pub fn only(&self, path: &str) -> Self {
        let below = format!("{path}/");
        Self(self.0.iter().filter(|entry| entry.path == path || entry.path.starts_with(&below)).cloned().collect())
    }

    /// This, then that.
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// As an archive.
    pub fn tar(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for entry in &self.0 {
            let records = entry.pax.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            archive.append_pax_extensions(records).expect("PAX records");
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(entry.kind);
            header.set_mode(entry.mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_700_000_000);
            header.set_size(entry.content.len() as u64);
            if entry.kind == EntryType::Char {
                // Not 0/0, which the engine takes for a file's absence.
                header.set_device_major(1).and_then(|()| header.set_device_minor(3)).expect("a device's numbers");
            }
            let path = if entry.kind == EntryType::Directory { format!("{}/", entry.path) } else { entry.path.clone() };
            if entry.link.is_empty() {
                archive.append_data(&mut header, path, entry.content.as_slice()).expect("an entry");
            } else {
                archive.append_link(&mut header, path, &entry.link).expect("a link");
            }
        }
        archive.into_inner().expect("a tar")
    }
}

/// The stop at an index, in a config's route.
#[track_caller]
pub fn stop(config: &mut Value, index: u64) -> &mut Value {
    let route = config["route"].as_array_mut().expect("a route");
    route.iter_mut().find(|stop| stop["index"] == index).expect("the stop")
}

/// Changes one bit in the middle of hex.
#[track_caller]
pub fn flip_hex(value: &mut Value) {
    let mut bytes = const_hex::decode(value.as_str().expect("hex")).expect("hex");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *value = const_hex::encode(bytes).into();
}

/// Runs a script in an image, without a network, and lets the image's name stand for the outcome. Answers its id.
#[track_caller]
pub fn run_script(engine: &Engine, image: &str, script: &str) -> String {
    let docker = docker();
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(["/bin/sh", "-euc", script].map(str::to_owned).to_vec()),
        network_disabled: Some(true),
        ..Default::default()
    };
    let made =
        block_on(docker.create_container(Some(q::CreateContainerOptionsBuilder::new().build()), body)).expect("a container");
    let ended = block_on(async {
        docker.start_container(&made.id, None).await?;
        docker.wait_container(&made.id, None).try_collect::<Vec<_>>().await
    });
    let (repository, tag) = image.rsplit_once(':').expect("repository:tag");
    let options = q::CommitContainerOptionsBuilder::new().container(&made.id).repo(repository).tag(tag).build();
    // The script is no part of what the train is told to run.
    let config = block_on(docker.inspect_image(image)).expect("an image").config.unwrap_or_default();
    let config = ContainerConfig { cmd: config.cmd, ..Default::default() };
    let committed = ended.map(|_| block_on(docker.commit_container(options, config)));
    engine.remove_container(&made.id);
    committed.expect("the script succeeds").expect("the engine commits");
    engine.find(image).expect("what was committed")
}

/// What the tests' algorithm is to a run that only has to leave something.
pub const RESULTS: &str =
    "mkdir -p /opt/pht_results/d && echo PLAINTEXT-CANARY-RESULT >> /opt/pht_results/d/a && : > /opt/pht_results/empty";

/// Everything that `docker save` ships of an image.
pub fn saved(image: &str) -> Vec<u8> {
    let pieces: Vec<bytes::Bytes> = block_on(docker().export_image(image).try_collect()).expect("the engine saves");
    pieces.concat()
}

/// Gives the engine an archive of an image (`docker load`); an error is its own words.
pub fn load(archive: &[u8]) -> Result<(), String> {
    let body = bollard::body_full(archive.to_vec().into());
    let answers = docker().import_image(q::ImportImageOptionsBuilder::new().build(), body, None);
    let answers = block_on(answers.try_collect::<Vec<_>>()).map_err(|error| error.to_string())?;
    answers.into_iter().find_map(|answer| answer.error_detail).map_or(Ok(()), |error| Err(format!("{error:?}")))
}

/// The engine's archive of a path in an image.
pub fn fetched(engine: &Engine, image: &str, path: &str) -> Vec<u8> {
    let held = engine.hold(image, &[]);
    let options = q::DownloadFromContainerOptionsBuilder::new().path(path).build();
    let pieces: Vec<bytes::Bytes> =
        block_on(docker().download_from_container(&held.id, Some(options)).try_collect()).expect("the engine gives an archive");
    pieces.concat()
}

/// Whether bytes hold a text.
pub fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// What the engine shows of an image.
pub fn inspected(image: &str) -> bollard::models::ImageInspect {
    block_on(docker().inspect_image(image)).expect("an image")
}

/// An image's history, newest first.
pub fn history(image: &str) -> Vec<bollard::models::ImageHistoryResponseItem> {
    block_on(docker().image_history(image)).expect("a history")
}

/// A child of an image with other settings (`ENV A=b`, …); `repository:tag` then names it.
pub fn commit_with(engine: &Engine, image: &str, changes: &str, repository: &str, tag: &str) {
    commit_layer(engine, image, None, changes, repository, tag);
}

/// The same, with what an archive holds laid over it.
pub fn commit_layer(engine: &Engine, image: &str, layer: Option<Vec<u8>>, changes: &str, repository: &str, tag: &str) {
    let held = engine.hold(image, &[]);
    if let Some(layer) = layer {
        let options = q::UploadToContainerOptionsBuilder::new().path("/").build();
        block_on(docker().upload_to_container(&held.id, Some(options), bollard::body_full(layer.into())))
            .expect("the engine takes a layer");
    }
    let options = q::CommitContainerOptionsBuilder::new().container(&held.id).repo(repository).tag(tag);
    let options = if changes.is_empty() { options } else { options.changes(changes) };
    block_on(docker().commit_container(options.build(), ContainerConfig::default())).expect("the engine commits");
}

pub fn docker() -> Docker {
    block_on(async { Docker::connect_with_defaults()?.negotiate_version().await }).expect("a Docker engine")
}

/// The id under which a station's service labels its containers.
pub fn instance(station: &Station) -> String {
    fs::read_to_string(station.state().join("instance")).expect("the instance id")
}

/// All there is of a train in the engine, before something that must change nothing.
pub struct Before {
    engine: Engine,
    repository: String,
    pub snapshot: Snapshot,
    pub images: BTreeSet<String>,
}

impl Before {
    /// Looks now.
    pub fn of(engine: &Engine, train: &Train) -> Self {
        let repository = train.repository.clone();
        let (snapshot, images) = (engine.snapshot(&repository), engine.image_ids(&repository));
        Self { engine: engine.clone(), repository, snapshot, images }
    }

    /// Whether all is as it was, and no container, volume or directory of the service is there.
    pub fn holds(&self, station: &Station) -> Result<(), String> {
        let (snapshot, images) = (self.engine.snapshot(&self.repository), self.engine.image_ids(&self.repository));
        let containers = self.engine.service_containers(Some(&instance(station)));
        if snapshot != self.snapshot {
            return Err(format!("names and containers were {:?} and are {snapshot:?}", self.snapshot));
        }
        if images != self.images {
            return Err(format!("images were {:?} and are {images:?}", self.images));
        }
        if !containers.is_empty() {
            return Err(format!("containers are left: {containers:?}"));
        }
        let beside = Beside::of(station);
        if beside.is_empty() { Ok(()) } else { Err(format!("opened trains are left: {beside:?}")) }
    }

    /// Fails the test when something changed.
    #[track_caller]
    pub fn assert(&self, station: &Station, what: &str) {
        if let Err(change) = self.holds(station) {
            panic!("{what}: {change}");
        }
    }
}

/// A call that must be refused, for this reason.
#[track_caller]
pub fn refused<T>(what: &str, answer: Result<T, Refusal>, reason: &str) -> Refusal {
    match answer {
        Ok(_) => panic!("{what}: it was not refused"),
        Err(refusal) => {
            assert_eq!(refusal.reason, reason, "{what}: {refusal:?}");
            assert_eq!(refusal.domain, "stationmaster.v1", "{what}");
            refusal
        }
    }
}

/// A station, a train for it, and the engine.
pub struct Scene {
    pub train: Train,
    pub station: Station,
    pub engine: Engine,
}

impl Scene {
    /// A train whose first stop is this station.
    #[track_caller]
    pub fn set() -> Self {
        Self::with(Station::start("a"))
    }

    /// The same, and the station trusts only the keys of the train.
    #[track_caller]
    pub fn pinned() -> Self {
        let scene = Self::with(Station::with("a").start_pinned());
        scene.station.trust_train(&scene.train);
        scene
    }

    /// A train whose only stop is this station.
    #[track_caller]
    pub fn with(station: Station) -> Self {
        let train = Train::of(&[station.seat()]).make();
        Self { train, station, engine: Engine::connect() }
    }

    /// The sealed train's file system.
    pub fn rootfs(&self) -> Rootfs {
        Rootfs::of(&self.engine, &self.train.image)
    }

    /// Pre-run of the train.
    pub fn pre_run(&self) -> Result<stationmaster_proto::PreRunOutcome, Refusal> {
        self.station.pre_run(&self.train.image)
    }

    /// A tampered train arrives under the train's name: pre-run refuses it, wherever it was to be opened, and changes nothing.
    /// The true one then is back.
    #[track_caller]
    pub fn refuses(&self, what: &str, tampered: &Rootfs, reason: &str) -> Refusal {
        let arrived = self.engine.find(&self.train.image).expect("the train");
        tampered.put(&self.engine, &self.train.repository, "latest");
        let before = Before::of(&self.engine, &self.train);
        for into in BESIDE {
            refused(what, self.station.open_into(&self.train.image, into), reason);
            before.assert(&self.station, what);
        }
        let refusal = refused(what, self.pre_run(), reason);
        before.assert(&self.station, what);
        self.engine.tag(&arrived, &self.train.repository, "latest");
        refusal
    }

    /// The true train is opened: no refusal before stands in its way.
    #[track_caller]
    pub fn still_works(&self) {
        let run = self.pre_run().expect("the true train is opened");
        assert!(!run.repeated_answer);
    }
}
