//! Opens and verifies the returned train as its creator.

use std::{collections::BTreeMap, io::Read};

use stationmaster_train::{
    config::{HexText, TrainConfig},
    digest::{Digest, ImmutableHasher, ResultHasher, chain_digest},
    envelope::{EnvelopeKey, Opener},
    keys::{HashAlgorithm, PublicKey},
    names::FilePath,
    route,
    seal::user_key_bytes,
    verify,
};

use super::{
    DemoError,
    creator::{Creator, Proposal},
    expect::require,
    stations::DemoStation,
};

/// Files by path.
pub(super) type Files = BTreeMap<FilePath, Vec<u8>>;

/// The contents of `/opt` of a returned train.
pub(super) struct Returned {
    config: TrainConfig,
    user_key: Vec<u8>,
    train: Files,
    results: Files,
}

impl Returned {
    /// Reads the engine's archive of `/opt`.
    pub(crate) fn read(archive: &[u8]) -> Result<Self, DemoError> {
        let (mut train, mut results) = (Files::new(), Files::new());
        let mut single = BTreeMap::new();
        let broken = || DemoError::io("read the archive of /opt");
        let mut archive = tar::Archive::new(archive);
        for entry in archive.entries().map_err(broken())? {
            let mut entry = entry.map_err(broken())?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(broken())?;
            let below = |directory| name.strip_prefix(directory).map(FilePath::new).transpose().map_err(DemoError::crypto);
            if let Some(path) = below("opt/pht_train/")? {
                train.insert(path, content);
            } else if let Some(path) = below("opt/pht_results/")? {
                results.insert(path, content);
            } else {
                single.insert(name, content);
            }
        }
        let mut take = |name: &str| single.remove(name).ok_or_else(|| DemoError::Unproven(format!("{name} returned")));
        let config = TrainConfig::parse(&take("opt/train_config.json")?).map_err(DemoError::crypto)?;
        Ok(Self { config, user_key: take("opt/user_sym_key.key")?, train, results })
    }

    /// Unwraps the key, opens all files, and compares them with the proposal, the keys that the services returned before (not those
    /// in the train), and the results digests of the stops.
    pub(crate) fn open(
        self,
        creator: &Creator,
        sent: &Proposal,
        route: &[DemoStation],
        digests: &[Digest],
    ) -> Result<Files, DemoError> {
        let wrapped =
            user_key_bytes(&self.config).ok_or_else(|| DemoError::Unproven("a key is wrapped for the creator".into()))?;
        let wrapped = wrapped.map_err(DemoError::crypto)?;
        require(wrapped == self.user_key, "user_sym_key.key is creator.encrypted_key")?;
        let key = creator.key.unwrap(&wrapped)?;
        self.check_train(&key, sent)?;
        let results = open_all(&self.results, &key)?;
        self.check_results(&results, sent, route, digests)?;
        Ok(results)
    }

    fn check_train(&self, key: &EnvelopeKey, sent: &Proposal) -> Result<(), DemoError> {
        let mut train = open_all(&self.train, key)?;
        let query = train.remove(&FilePath::query());
        require(query.as_ref() == Some(&sent.algorithm.query), "the query returned unchanged")?;
        require(train == sent.algorithm.files, "the code returned unchanged, and no other file")?;
        require(self.config.file_list == sent.algorithm.file_list(), "file_list is the creator's")?;
        require(self.config.creator.rsa_public_key == sent.creator.rsa_public_key, "the creator's key is the creator's")?;
        let mut hasher = ImmutableHasher::new(&sent.creator.id);
        for name in &self.config.file_list {
            let path = FilePath::listed(name).map_err(DemoError::crypto)?;
            hasher.update(train.get(&path).ok_or_else(|| DemoError::Unproven(format!("{path} returned")))?);
        }
        let digest = hasher.finish(&sent.session_id, query.as_deref());
        require(digest == sent.digest, "code, query and session have the digest that the creator signed")?;
        verify::verify_creator_and_build(&self.config, &digest).map_err(|error| DemoError::Unproven(error.to_string()))
    }

    fn check_results(
        &self,
        results: &Files,
        sent: &Proposal,
        route: &[DemoStation],
        digests: &[Digest],
    ) -> Result<(), DemoError> {
        let mut hasher = ResultHasher::new();
        results.values().for_each(|content| hasher.update(content));
        let digest = hasher.finish(&sent.session_id);
        require(digests.last() == Some(&digest), "the results have the digest that the last station returned")?;
        require(stated(self.config.result_hash.as_ref())? == digest, "the results have the digest that the train states")?;
        let last = route.last().ok_or_else(|| DemoError::Unproven("a route has stops".into()))?;
        verify_exact(&last.public_key, &digest, self.config.result_signature.as_ref(), "the results")?;

        let stops = route::in_order(&self.config).map_err(DemoError::crypto)?;
        require(stops.len() == route.len() && digests.len() == route.len(), "the route has its original stops")?;
        let mut links: Vec<Digest> = Vec::new();
        for ((stop, station), results) in stops.iter().zip(route).zip(digests) {
            let id = &station.id;
            require(stop.station.as_text() == Some(id.as_str()), format!("{id} has its original position on the route"))?;
            require(
                stop.rsa_public_key.as_str() == station.key.public_key_hex_pem,
                format!("the key of {id} is the pinned one"),
            )?;
            let link = chain_digest(&sent.session_id, &links, results);
            let signature = stop.signature.as_ref().ok_or_else(|| DemoError::Unproven(format!("{id} signed")))?;
            require(stated(Some(&signature.digest))? == link, format!("the link of {id} has the recomputed digest"))?;
            verify_exact(&station.public_key, &link, Some(&signature.signature), id)?;
            links.push(link);
        }
        Ok(())
    }
}

fn open_all(sealed: &Files, key: &EnvelopeKey) -> Result<Files, DemoError> {
    let open = |(path, content): (&FilePath, &Vec<u8>)| {
        let mut plain = Vec::new();
        let mut opener = Opener::new(key);
        let opened = opener.update(content, &mut plain).and_then(|()| opener.finish(&mut plain));
        opened.map_err(|error| DemoError::Unproven(format!("{path} opens ({error})")))?;
        Ok((path.clone(), plain))
    };
    sealed.iter().map(open).collect()
}

fn stated(digest: Option<&HexText>) -> Result<Digest, DemoError> {
    let digest = digest.ok_or_else(|| DemoError::Unproven("the train states its digests".into()))?;
    Digest::from_hex(digest).map_err(DemoError::crypto)
}

/// Verifies PSS with exactly the longest salt.
fn verify_exact(key: &PublicKey, digest: &Digest, signature: Option<&HexText>, whose: &str) -> Result<(), DemoError> {
    let unproven = || DemoError::Unproven(format!("the signature over {whose} verifies"));
    let signature = signature.ok_or_else(unproven)?.decode().map_err(DemoError::crypto)?;
    let salt = key.max_pss_salt(HashAlgorithm::Sha512);
    key.verify_pss_exact(HashAlgorithm::Sha512, digest.as_bytes(), salt, &signature).map_err(|_| unproven())
}
