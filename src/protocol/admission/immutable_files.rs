//! Names, opens and hashes the immutable files of a train and its query.

use stationmaster_image::ImageError;
use stationmaster_train::{
    config::TrainConfig,
    digest::{FileHasher, ImmutableHasher, Sha256Digest},
    names::{FilePath, Listing},
    rule::Rule,
};
use zeroize::Zeroizing;

use super::implicit_rejection::ProvisionalKey;
use crate::{
    ledger::FileDigest,
    protocol::{
        content::sealed_contents::{Contents, StoredFile},
        context::{call_context::CallContext, error::StepError, rule_log::RuleLog},
    },
};

/// Longest query that is read into memory, in bytes of plaintext.
const QUERY_LIMIT: u64 = 2 * 1024 * 1024;

/// Returns the names to hash. Fails if one of them has no file.
pub(in crate::protocol) fn listing_of(config: &TrainConfig, contents: &Contents, rules: &RuleLog) -> Result<Listing, StepError> {
    let listing = Listing::new(&config.file_list)
        .map_err(|error| StepError::rule(Rule::PlainNames, format!("file_list entry {}: {}", error.position, error.cause)))?;
    if let Some(absent) = listing.names().iter().find(|path| contents.train.file(path).is_none()) {
        return Err(missing(absent));
    }
    rules.checked(Rule::PlainNames);
    rules.checked(Rule::ListedFilesPresent);
    Ok(listing)
}

/// Returns the immutable files that `file_list` does not name.
pub(super) fn unlisted<'a>(contents: &'a Contents, listing: &'a Listing) -> impl Iterator<Item = &'a StoredFile> {
    contents.train.files.iter().filter(|file| !file.path.is_query() && !listing.contains(&file.path))
}

/// A train's immutable files, and the key with which they are opened. Files that do not open are a failure of the key, which
/// ends nothing.
#[derive(Clone, Copy)]
pub(super) struct SealedFiles<'a> {
    pub contents: &'a Contents,
    pub key: &'a ProvisionalKey,
    pub step: &'a CallContext<'a>,
}

impl SealedFiles<'_> {
    /// Opens the listed files in their order, passes them to `hasher`, and returns the digest of each.
    pub(super) fn hash_listed(&self, listing: &Listing, hasher: &mut ImmutableHasher) -> Result<Vec<FileDigest>, StepError> {
        let total: u64 = self.contents.train.files.iter().map(|file| file.extent.len).sum();
        let mut done = 0;
        let mut files = Vec::with_capacity(listing.names().len());
        for path in listing.names() {
            let file = self.contents.train.file(path).ok_or_else(|| missing(path))?;
            files.push(self.hash(file, |plain| {
                hasher.update(plain);
                done += plain.len() as u64;
                (self.step.progress)("verify", done, total);
            })?);
        }
        Ok(files)
    }

    /// Returns the digests of the files that `file_list` does not name. No signature covers them; post-run still detects whether
    /// the run changed them.
    pub(super) fn hash_unlisted(&self, listing: &Listing) -> Result<Vec<FileDigest>, StepError> {
        unlisted(self.contents, listing).map(|file| self.hash(file, |_| {})).collect()
    }

    fn hash(&self, file: &StoredFile, mut each: impl FnMut(&[u8])) -> Result<FileDigest, StepError> {
        let mut digest = FileHasher::new();
        self.key.defer(self.contents.open_file(self.key.key(), file.extent, |plain| {
            self.step.check_cancelled()?;
            digest.update(plain);
            each(plain);
            Ok(())
        }))?;
        Ok(file_digest(&file.path, digest.finish()))
    }

    /// Opens the query, if the train has one.
    pub(super) fn read_query(&self) -> Result<Option<Zeroizing<Vec<u8>>>, StepError> {
        let Some(file) = self.contents.train.file(&FilePath::query()) else { return Ok(None) };
        if file.extent.len > QUERY_LIMIT {
            return Err(ImageError::Limit("bytes of query.json").into());
        }
        let mut query = Zeroizing::new(Vec::with_capacity(file.extent.len as usize));
        self.key.defer(self.contents.open_file(self.key.key(), file.extent, |plain| {
            query.extend_from_slice(plain);
            Ok(())
        }))?;
        Ok(Some(query))
    }
}

/// Returns the digest of a query.
pub(super) fn of_query(query: &[u8]) -> FileDigest {
    file_digest(&FilePath::query(), Sha256Digest::of(query))
}

fn file_digest(path: &FilePath, sha256: Sha256Digest) -> FileDigest {
    FileDigest { path: path.as_str().to_owned(), sha256 }
}

fn missing(path: &FilePath) -> StepError {
    StepError::rule(Rule::ListedFilesPresent, path.as_str())
}
