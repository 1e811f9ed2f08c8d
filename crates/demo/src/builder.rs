//! The train builder: seals a proposal for the first stop and builds an image of it.

use std::{collections::BTreeSet, fs, io};

use stationmaster_train::{
    config::{Build, Ecosystem, HexText, Id, RouteStop, Source, SourceKind, TrainConfig},
    envelope::{EnvelopeKey, Sealer},
    json::Json,
    names::FilePath,
};
use tar::{EntryType, Header};

use super::{DemoError, creator::Proposal, prerequisites::Prerequisites, software_key::SoftwareKey, stations::DemoStation};

const TRAIN: &str = "opt/pht_train";
const RESULTS: &str = "opt/pht_results";
const CONFIG: &str = "opt/train_config.json";

/// A train before its first stop.
pub(super) struct BuiltTrain {
    /// Its config.
    pub config: TrainConfig,
    /// The key wrapped for the first stop.
    pub wrapped_key: Vec<u8>,
    sealed: Vec<(FilePath, Vec<u8>)>,
}

impl BuiltTrain {
    /// Seals a proposal for a route, with the keys of its stations.
    pub(crate) fn seal(proposal: &Proposal, route: &[DemoStation], repository: &str) -> Result<Self, DemoError> {
        let builder = SoftwareKey::generate()?;
        let key = EnvelopeKey::random().map_err(DemoError::crypto)?;
        let mut sealed = Vec::new();
        let query = (FilePath::query(), &proposal.algorithm.query);
        for (path, content) in proposal.algorithm.files.iter().map(|(path, content)| (path.clone(), content)).chain([query]) {
            sealed.push((path, seal(&key, content)?));
        }
        let first = route.first().ok_or_else(|| DemoError::Unproven("a route has stops".into()))?;
        let wrapped_key = first.public_key.wrap(&key).map_err(DemoError::crypto)?;
        let signed = [proposal.digest.as_bytes().as_slice(), &proposal.signature].concat();
        let mut config = TrainConfig {
            source: Source {
                kind: SourceKind::DockerRepository,
                address: repository.to_owned(),
                tag: Some("latest".to_owned()),
                branch: None,
            },
            creator: proposal.creator.clone(),
            proposal_id: Id::Int(1.into()),
            id: uuid::Uuid::new_v4().to_string(),
            context: Json::Null,
            session_id: HexText::from_bytes(&proposal.session_id),
            route: (0..).zip(route).map(|(index, station)| stop(index, station)).collect(),
            file_list: proposal.algorithm.file_list(),
            hash: proposal.digest.to_hex(),
            signature: HexText::from_bytes(&proposal.signature),
            build: Build { signature: HexText::from_bytes(&builder.sign(&signed)?), rsa_public_key: builder.spki_hex_pem()? },
            result_hash: None,
            result_signature: None,
        };
        config.route[0].encrypted_key = Some(HexText::from_bytes(&wrapped_key));
        // Builders do not sort the route.
        config.route.reverse();
        Ok(Self { config, wrapped_key, sealed })
    }

    /// Returns the number of sealed files, including the query.
    pub(crate) fn sealed_files(&self) -> usize {
        self.sealed.len()
    }

    /// Returns the train with one byte of its sealed code flipped, and the name of that file.
    pub(crate) fn forged(&self) -> (Self, FilePath) {
        let mut sealed = self.sealed.clone();
        // The first file is code: the query was added last. A sealed file has at least 32 bytes.
        let (path, content) = &mut sealed[0];
        let middle = content.len() / 2;
        content[middle] ^= 1;
        let path = path.clone();
        (Self { config: self.config.clone(), wrapped_key: self.wrapped_key.clone(), sealed }, path)
    }

    /// Returns the archive of the image's file system: busybox with its applets, and the train.
    pub(crate) fn root_file_system(&self, needs: &Prerequisites) -> Result<Vec<u8>, DemoError> {
        let busybox = fs::read(&needs.busybox).map_err(DemoError::io("read busybox"))?;
        self.archive(&busybox, &needs.applets()?).map_err(DemoError::io("write the image's archive"))
    }

    fn archive(&self, busybox: &[u8], applets: &[String]) -> io::Result<Vec<u8>> {
        let mut archive = Archive::new();
        archive.directory("bin")?;
        archive.file("bin/busybox", 0o755, busybox)?;
        for applet in applets.iter().filter(|applet| *applet != "busybox") {
            archive.link(&format!("bin/{applet}"), "busybox")?;
        }
        let paths: Vec<String> = self.sealed.iter().map(|(path, _)| format!("{TRAIN}/{path}")).collect();
        let parents: BTreeSet<&str> = paths.iter().filter_map(|path| path.rsplit_once('/')).map(|(parent, _)| parent).collect();
        for directory in ["opt", TRAIN, RESULTS].into_iter().chain(parents.into_iter().filter(|parent| *parent != TRAIN)) {
            archive.directory(directory)?;
        }
        for (path, (_, content)) in paths.iter().zip(&self.sealed) {
            archive.file(path, 0o644, content)?;
        }
        archive.file(CONFIG, 0o644, &self.config.to_bytes())?;
        archive.finish()
    }
}

fn stop(index: i64, station: &DemoStation) -> RouteStop {
    RouteStop {
        station: Id::from_text(station.id.clone()),
        eco_system: Ecosystem::Tue,
        rsa_public_key: HexText::new(station.key.public_key_hex_pem.clone()),
        index,
        signature: None,
        encrypted_key: None,
    }
}

fn seal(key: &EnvelopeKey, plain: &[u8]) -> Result<Vec<u8>, DemoError> {
    let mut out = Vec::new();
    let mut sealer = Sealer::new(key).map_err(DemoError::crypto)?;
    sealer.update(plain, &mut out).map_err(DemoError::crypto)?;
    sealer.finish(&mut out).map_err(DemoError::crypto)?;
    Ok(out)
}

/// A tar archive in memory, with files of root.
pub(super) struct Archive {
    tar: tar::Builder<Vec<u8>>,
    mtime: u64,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()), mtime: jiff::Timestamp::now().as_second().unsigned_abs() }
    }

    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        let mut header = self.header(EntryType::Directory, 0o755, 0);
        self.tar.append_data(&mut header, format!("{path}/"), io::empty())
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = self.header(EntryType::Regular, mode, content.len() as u64);
        self.tar.append_data(&mut header, path, content)
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let mut header = self.header(EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, path, target)
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        self.tar.into_inner()
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.mtime);
        header
    }
}
