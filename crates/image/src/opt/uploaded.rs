//! An uploaded archive of `/opt`, which can be read more than once.

use std::{
    io::{self, Cursor, Read},
    sync::Arc,
};

use stationmaster_train::digest::{FileHasher, Sha256Digest};
use tar::EntryType;
use tokio_util::sync::CancellationToken;

use super::{
    files::{FilesReader, ImageFiles},
    reader::without_root,
};
use crate::{
    ImageError,
    disk::spool::Spool,
    opt::train_dirs::CONFIG_LIMIT,
    tar::{header_writer::header_blocks, reader::TarReader},
};

/// Bytes received at a time.
const BUFFER: usize = 256 * 1024;

/// An uploaded archive of `/opt`, unchanged, in a file without a name.
pub struct UploadedTrain {
    spool: Arc<Spool>,
    sha256: Sha256Digest,
}

impl UploadedTrain {
    /// Receives the whole archive. An error of `check` ends it. The content is checked when it is read.
    pub fn receive(
        mut archive: impl Read,
        mut spool: Spool,
        check: &dyn Fn() -> Result<(), ImageError>,
    ) -> Result<Self, ImageError> {
        let (mut buffer, mut hasher) = (vec![0; BUFFER], FileHasher::new());
        loop {
            let count = archive.read(&mut buffer).map_err(ImageError::from_io)?;
            check()?;
            if count == 0 {
                break;
            }
            spool.check_space(count as u64)?;
            spool.append(&buffer[..count])?;
            hasher.update(&buffer[..count]);
        }
        spool.flush()?;
        Ok(Self { spool: Arc::new(spool), sha256: hasher.finish() })
    }

    /// Returns the digest of the archive.
    pub fn sha256(&self) -> Sha256Digest {
        self.sha256
    }
}

impl ImageFiles for UploadedTrain {
    /// Reads `/opt`, or one small file in it.
    fn read(&self, path: &str, cancel: &CancellationToken) -> Result<FilesReader, ImageError> {
        let whole = CompleteUpload { spool: Arc::clone(&self.spool), at: 0, cancel: cancel.clone() };
        let wanted = path.trim_matches('/');
        if wanted == "opt" {
            return Ok(Box::new(whole));
        }
        let mut entries = TarReader::new(whole);
        while let Some(entry) = entries.next()? {
            if without_root(&entry.path) != wanted.as_bytes() {
                continue;
            }
            if entry.size > CONFIG_LIMIT {
                return Err(ImageError::Limit("bytes of train_config.json"));
            }
            let name = wanted.rsplit('/').next().unwrap_or(wanted);
            let kind = if entry.kind == EntryType::Regular { entry.kind } else { EntryType::Symlink };
            let mut archive = header_blocks(name, kind, entry.meta, entry.size);
            entries.by_ref().take(CONFIG_LIMIT).read_to_end(&mut archive).map_err(ImageError::from_io)?;
            archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
            return Ok(Box::new(Cursor::new(archive)));
        }
        Err(ImageError::PathMissing)
    }
}

/// Reader of the archive from its start.
struct CompleteUpload {
    spool: Arc<Spool>,
    at: u64,
    cancel: CancellationToken,
}

impl Read for CompleteUpload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(ImageError::Cancelled));
        }
        let left = self.spool.len() - self.at;
        let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.spool.read(self.at, &mut buffer[..count]).map_err(io::Error::other)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use crate::{opt::uploaded::*, tar::entry::FileAttrs};

    #[test]
    fn a_small_file_and_all_of_it_are_read_as_an_engine_gives_them() {
        let mut archive = header_blocks("opt/", EntryType::Directory, FileAttrs::directory(0), 0);
        for (name, content) in [("opt/train_config.json", b"{}".as_slice()), ("opt/x", b"")] {
            archive.extend(header_blocks(name, EntryType::Regular, FileAttrs::immutable_file(0), content.len() as u64));
            archive.extend(content);
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
        archive.resize(archive.len() + 1024, 0);
        let directory = tempfile::tempdir().unwrap();
        let receive =
            |archive: &[u8]| UploadedTrain::receive(archive, Spool::create(directory.path(), 0, 0).unwrap(), &|| Ok(())).unwrap();
        let (sent, cancel) = (receive(&archive), CancellationToken::new());
        let mut read = Vec::new();
        sent.read("/opt", &cancel).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == archive);
        let config = crate::opt::reader::read_config(sent.read("/opt/train_config.json", &cancel).unwrap()).unwrap();
        assert_eq!(config, b"{}");
        assert!(matches!(sent.read("/opt/none", &cancel), Err(ImageError::PathMissing)));
        assert!(receive(&archive[..700]).read("/opt/none", &cancel).is_err(), "it breaks off");
    }
}
