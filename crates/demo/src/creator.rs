//! The creator: writes the algorithm, signs it, and later reads the results.

use stationmaster_train::{
    config::{Creator as CreatorEntry, Id},
    digest::{Digest, ImmutableHasher},
};

use super::{DemoError, algorithm::Algorithm, software_key::SoftwareKey};

/// A user id in the registry's format.
const CREATOR_ID: &str = "5d9e4f0c-6d0a-4b57-9d52-5f6f3a0c7f10";
const SESSION_BYTES: usize = 64;

/// The creator, with a key in software.
pub(super) struct Creator {
    /// The key pair.
    pub key: SoftwareKey,
    id: Id,
}

/// The signed algorithm that the creator passes to the builder.
pub(super) struct Proposal {
    /// The algorithm and its query, plain.
    pub algorithm: Algorithm,
    /// Random bytes that identify this train.
    pub session_id: Vec<u8>,
    /// Digest of algorithm, session and query.
    pub digest: Digest,
    /// The creator's signature of it.
    pub signature: Vec<u8>,
    /// The creator's entry in the config.
    pub creator: CreatorEntry,
}

impl Creator {
    pub(crate) fn new() -> Result<Self, DemoError> {
        Ok(Self { key: SoftwareKey::generate()?, id: Id::from_text(CREATOR_ID.to_owned()) })
    }

    /// Signs an algorithm.
    pub(crate) fn propose(&self, algorithm: Algorithm) -> Result<Proposal, DemoError> {
        let mut session_id = vec![0; SESSION_BYTES];
        openssl::rand::rand_bytes(&mut session_id).map_err(DemoError::crypto)?;
        let mut hasher = ImmutableHasher::new(&self.id);
        // `file_list` is in the reverse order of the files.
        algorithm.files.values().rev().for_each(|content| hasher.update(content));
        let digest = hasher.finish(&session_id, Some(&algorithm.query));
        Ok(Proposal {
            signature: self.key.sign(digest.as_bytes())?,
            creator: CreatorEntry {
                id: self.id.clone(),
                rsa_public_key: self.key.pkcs1_hex_pem()?,
                paillier_public_key: None,
                encrypted_key: None,
            },
            algorithm,
            session_id,
            digest,
        })
    }
}
