//! A train: made by central and builder, opened again by its creator.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::{Engine, Peer, PeerError};

const ALGORITHM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer/algorithm");
const QUERY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer/query.json");

/// A station's place on a route: its id and its public key.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The id.
    pub id: String,
    /// The key, hex of PEM.
    pub hex_pem: String,
}

/// What a train asks the station's records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Query {
    None,
    Empty,
    Real,
}

/// A train to be made.
pub struct TrainPlan {
    stations: Vec<Seat>,
    query: Query,
    creator_form: &'static str,
    creator_id: Option<String>,
    tag: String,
    session_bytes: usize,
    files: Vec<(String, u64)>,
}

impl TrainPlan {
    /// Without a query (the default is with one).
    pub fn without_query(mut self) -> Self {
        self.query = Query::None;
        self
    }

    /// With a query that is there and has no bytes.
    pub fn empty_query(mut self) -> Self {
        self.query = Query::Empty;
        self
    }

    /// With a session id of this length (the default is 64).
    pub fn session_bytes(mut self, bytes: usize) -> Self {
        self.session_bytes = bytes;
        self
    }

    /// With the creator's public key as SPKI (the default is PKCS#1).
    pub fn spki_creator(mut self) -> Self {
        self.creator_form = "spki";
        self
    }

    /// With a creator of this id.
    pub fn created_by(mut self, id: &str) -> Self {
        self.creator_id = Some(id.to_owned());
        self
    }

    /// With one more immutable file, of this many bytes.
    pub fn file(mut self, path: &str, bytes: u64) -> Self {
        self.files.push((path.to_owned(), bytes));
        self
    }

    /// Makes it, in a repository of its own.
    #[track_caller]
    pub fn make(self) -> Train {
        let engine = Engine::connect();
        let directory = tempfile::tempdir().expect("a directory");
        let repository = format!("stationmaster-test/{}", uuid::Uuid::new_v4().simple());
        // The guard first: what is half made goes too.
        let mut train = Train {
            image: format!("{repository}:{}", self.tag),
            base: format!("{repository}:base"),
            repository,
            query: match self.query {
                Query::None => None,
                Query::Empty => Some(Vec::new()),
                Query::Real => Some(fs::read(QUERY).expect("the query")),
            },
            made: Value::Null,
            directory,
            engine,
        };
        let files = train.directory.path().join("files");
        copy_tree(Path::new(ALGORITHM), &files).expect("a copy of the algorithm");
        for (path, bytes) in &self.files {
            write_pattern(&files.join(path), *bytes).expect("a file");
        }
        let query = train.directory.path().join("query.json");
        if let Some(bytes) = &train.query {
            fs::write(&query, bytes).expect("the query");
        }
        let stations: Vec<Value> =
            self.stations.iter().map(|seat| json!({"id": seat.id, "public_key_hex_pem": seat.hex_pem})).collect();
        let stations = Value::from(stations).to_string();
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let mut arguments: Vec<String> = [
            ("--repo", train.repository.clone()),
            ("--tag", self.tag),
            ("--files", path(&files)),
            ("--stations", stations),
            ("--work", path(train.directory.path())),
            ("--creator-form", self.creator_form.to_owned()),
            ("--session-bytes", self.session_bytes.to_string()),
        ]
        .into_iter()
        .chain(train.query.as_ref().map(|_| ("--query", path(&query))))
        .chain(self.creator_id.map(|id| ("--creator-id", id)))
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        arguments.insert(0, "make-train".to_owned());
        train.made = Peer::newest().run(arguments);
        train
    }
}

/// A train in the engine. Its images and containers go when it is dropped.
pub struct Train {
    /// The reference that travels, `repository:latest`.
    pub image: String,
    /// The base's reference.
    pub base: String,
    /// The repository, this test's own.
    pub repository: String,
    /// The query's bytes.
    pub query: Option<Vec<u8>>,
    /// All that make-train answered: `train_id`, `session_id`, `hash`, `file_list`, …
    pub made: Value,
    directory: tempfile::TempDir,
    engine: Engine,
}

impl Train {
    /// A train for these stations, in this order.
    pub fn of(stations: &[Seat]) -> TrainPlan {
        TrainPlan {
            stations: stations.to_vec(),
            query: Query::Real,
            creator_form: "pkcs1",
            creator_id: None,
            tag: "latest".into(),
            session_bytes: 64,
            files: Vec::new(),
        }
    }

    /// A directory for what else the test needs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The creator's private key, PEM.
    pub fn creator_key(&self) -> PathBuf {
        self.directory.path().join("creator.pem")
    }

    /// Its creator's id and public key.
    pub fn creator(&self) -> Seat {
        let text = |name: &str| self.made[name].as_str().expect("text").to_owned();
        Seat { id: text("creator_id"), hex_pem: text("creator_public_key") }
    }

    /// The stations of its route.
    pub fn seats(&self) -> Vec<Seat> {
        let seat = |pair: &Value| {
            let text = |at: usize| pair[at].as_str().expect("text").to_owned();
            Seat { id: text(0), hex_pem: text(1) }
        };
        self.made["stations"].as_array().expect("stations").iter().map(seat).collect()
    }

    /// The train session, raw.
    pub fn session_id(&self) -> Vec<u8> {
        const_hex::decode(self.made["session_id"].as_str().expect("a session id")).expect("hex")
    }

    /// The envelope key that it was made with.
    pub fn envelope_key(&self) -> Vec<u8> {
        const_hex::decode(self.made["envelope_key"].as_str().expect("a key")).expect("hex")
    }

    /// The digest of the immutable files, raw, as the creator signed it.
    pub fn immutable_digest(&self) -> Vec<u8> {
        const_hex::decode(self.made["hash"].as_str().expect("a hash")).expect("hex")
    }

    /// The creator opens what came back: every signature and digest checked, everything decrypted, by code of the tests' own.
    #[track_caller]
    pub fn open(&self, earlier_result_hashes: &[String]) -> Opened {
        self.try_open(earlier_result_hashes, false).unwrap_or_else(|error| panic!("the creator refuses it: {error:?}"))
    }

    /// As [`Train::open`]; with `digests`, files are hex SHA-512 in place of contents.
    pub fn try_open(&self, earlier_result_hashes: &[String], digests: bool) -> Result<Opened, PeerError> {
        let (key, expect) = (self.creator_key(), self.directory.path().join("train.json"));
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        let mut arguments: Vec<String> =
            ["open-results", "--image", &self.image, "--key", &path(&key), "--expect", &path(&expect)]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(digests.then(|| "--digests".to_owned()));
        arguments.push("--earlier-result-hashes".into());
        arguments.extend(earlier_result_hashes.iter().cloned());
        let answer = Peer::newest().script("peer.py", arguments)?;
        let content = |value: &Value| {
            let text = value.as_str().expect("text");
            if digests { const_hex::decode(text).expect("hex") } else { BASE64_STANDARD.decode(text).expect("base64") }
        };
        let files = |name: &str| -> BTreeMap<String, Vec<u8>> {
            answer[name].as_object().expect("files").iter().map(|(name, value)| (name.clone(), content(value))).collect()
        };
        Ok(Opened {
            files: files("files"),
            code: files("code"),
            query: answer["query"].as_str().map(|text| BASE64_STANDARD.decode(text).expect("base64")),
            stops_signed: answer["stops_signed"].as_u64().expect("a number"),
            result_hash: answer["result_hash"].as_str().expect("a hash").to_owned(),
            envelope_key: const_hex::decode(answer["envelope_key"].as_str().expect("a key")).expect("hex"),
            wrapped_for_creator: const_hex::decode(answer["config"]["creator"]["encrypted_key"].as_str().expect("a wrapped key"))
                .expect("hex"),
        })
    }

    /// What the tests' algorithm leaves after so many runs, worked out without it.
    pub fn expected_results(&self, stops: usize) -> BTreeMap<String, Vec<u8>> {
        let short = |bytes: &[u8]| const_hex::encode(Sha256::digest(bytes))[..16].to_owned();
        let query = self.query.as_deref().map_or("none".into(), short);
        let data = short(&fs::read(Path::new(ALGORITHM).join("data.bin")).expect("data.bin"));
        let lines = |line: &dyn Fn(usize) -> String| (0..stops).map(line).collect::<String>().into_bytes();
        let mut files = BTreeMap::from([
            ("log.txt".to_owned(), lines(&|stop| format!("stop {stop} query {query} data {data}\n"))),
            ("empty.txt".to_owned(), Vec::new()),
        ]);
        for path in ["a/b/c.txt", "a!", "a-b", "a.txt"] {
            let name = path.rsplit('/').next().unwrap_or(path);
            files.insert(path.to_owned(), lines(&|stop| format!("{name} of stop {stop}\n")));
        }
        for stop in 0..stops {
            files.insert(format!("canary-{stop}.txt"), format!("PLAINTEXT-CANARY-RESULT-{stop}\n").into_bytes());
        }
        files
    }

    /// The immutable files that were put into it, by path.
    pub fn code(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        read_tree(&self.directory.path().join("files"), "", &mut files).expect("the train's files");
        files
    }

    /// Texts of the train's plaintext that no sealed image may show in any layer.
    pub fn canaries(&self) -> Vec<&'static [u8]> {
        let mut canaries: Vec<&[u8]> = vec![b"PLAINTEXT-CANARY-CODE", b"PLAINTEXT-CANARY-RESULT"];
        canaries.extend(self.query.as_ref().is_some_and(|query| !query.is_empty()).then_some(&b"patients.json"[..]));
        canaries
    }
}

impl Drop for Train {
    fn drop(&mut self) {
        self.engine.remove_all(&self.repository);
    }
}

/// What the creator found.
#[derive(Debug)]
pub struct Opened {
    /// The results, by path below `pht_results`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The code, by path below `pht_train`.
    pub code: BTreeMap<String, Vec<u8>>,
    /// The query.
    pub query: Option<Vec<u8>>,
    /// Stops whose signatures hold.
    pub stops_signed: u64,
    /// The last result hash, hex.
    pub result_hash: String,
    /// The envelope key of the last post-run.
    pub envelope_key: Vec<u8>,
    /// The same, wrapped for the creator.
    pub wrapped_for_creator: Vec<u8>,
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy_tree(&entry.path(), &target)? } else { fs::copy(entry.path(), target).map(drop)? }
    }
    Ok(())
}

pub(super) fn read_tree(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_tree(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// Bytes that do not compress and do not repeat.
fn write_pattern(path: &Path, bytes: u64) -> io::Result<()> {
    fs::create_dir_all(path.parent().expect("a directory"))?;
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    let mut block = Sha512::digest(path.file_name().expect("a name").as_encoded_bytes()).repeat(1024);
    let mut left = bytes;
    while left > 0 {
        let next = Sha512::digest(&block[..64]);
        block[..64].copy_from_slice(&next);
        let now = left.min(block.len() as u64);
        file.write_all(&block[..now as usize])?;
        left -= now;
    }
    file.flush()
}
