//! Allowed master images of trains: a repository, optionally with the digest of one image.

use stationmaster_train::digest::Sha256Digest;
use thiserror::Error;

/// Longest repository, in bytes.
const REPOSITORY_LIMIT: usize = 255;

/// An allowed master image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// The repository, with its registry.
    pub repository: String,
    /// The digest of the image; any image of the repository when absent.
    pub digest: Option<Sha256Digest>,
    /// A note for people.
    pub comment: Option<String>,
}

/// Why a text does not name a master image. The administrator must correct it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MasterError {
    /// Not a repository as registries spell it.
    #[error("not a repository (lower case, as registry.example:5000/master/python)")]
    Repository,
    /// A tag: it can be moved, so it does not determine what is allowed.
    #[error("a tag can be moved: name the repository, or repository@sha256:…")]
    Tag,
    /// Not a digest.
    #[error("a digest is sha256: and 64 lower-case hex digits")]
    Digest,
}

impl Master {
    /// Parses `repository` or `repository@sha256:…`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(reference: &str, comment: Option<String>) -> Result<Self, MasterError> {
        let (repository, digest) = match reference.split_once('@') {
            Some((repository, digest)) => (repository, Some(digest)),
            None => (reference, None),
        };
        let last = repository.rsplit('/').next().unwrap_or_default();
        if last.contains(':') && (repository.contains('/') || !is_host(last)) {
            return Err(MasterError::Tag);
        }
        if repository.is_empty() || repository.len() > REPOSITORY_LIMIT {
            return Err(MasterError::Repository);
        }
        let mut parts = repository.split('/').enumerate();
        let several = repository.contains('/');
        if !parts.all(|(at, part)| is_component(part) || (at == 0 && several && is_host(part))) {
            return Err(MasterError::Repository);
        }
        let digest = digest.map(str::parse).transpose().map_err(|_| MasterError::Digest)?;
        Ok(Self { repository: repository.to_owned(), digest, comment })
    }

    /// Returns the written form: `repository` or `repository@sha256:…`.
    #[must_use]
    pub fn reference(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository),
            None => self.repository.clone(),
        }
    }
}

fn is_component(part: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    ends(part.bytes().next())
        && ends(part.bytes().last())
        && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_host(part: &str) -> bool {
    let (host, port) = part.split_once(':').unwrap_or((part, "1"));
    let port = !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    !host.is_empty() && port && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_is_a_repository_with_or_without_a_digest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for reference in ["python", "master/python", "harbor.example/master/python", "Harbor.Example:5000/m/python"] {
            assert_eq!(Master::parse(reference, None).unwrap().reference(), reference);
            let exact = format!("{reference}@{digest}");
            assert_eq!(Master::parse(&exact, None).unwrap().reference(), exact);
        }
    }

    #[test]
    fn tags_and_what_no_registry_spells_are_refused() {
        for (reference, cause) in [
            ("master/python:3", MasterError::Tag),
            ("python:latest", MasterError::Tag),
            ("host:5000/python:3", MasterError::Tag),
            ("", MasterError::Repository),
            ("Python", MasterError::Repository),
            ("a//b", MasterError::Repository),
            ("a/../b", MasterError::Repository),
            ("a/b\n", MasterError::Repository),
            ("python@sha256:00", MasterError::Digest),
            ("python@md5:00", MasterError::Digest),
        ] {
            assert_eq!(Master::parse(reference, None), Err(cause), "{reference:?}");
        }
    }
}
