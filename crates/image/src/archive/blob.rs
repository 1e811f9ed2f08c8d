//! Reads one blob of an image: hashes a layer, plain or compressed, or keeps a document.

use std::io::Read;

use stationmaster_train::digest::Sha256Digest;

use super::{
    buffer_pool, decompress::Compression, decompress_thread::DecompressThread, entry_check::check_entry,
    hash_thread::HashingReader, layer_sink::LayerSink,
};
use crate::{
    ImageError,
    oci::documents,
    tar::{end_check::EndCheckedReader, file_kind, reader::TarReader},
};

/// A layer that was read.
pub(crate) struct Blob {
    /// Digest of the file.
    pub digest: Sha256Digest,
    /// Digest of the uncompressed archive.
    pub diff_id: Sha256Digest,
}

/// Content of a blob.
pub(crate) enum Content {
    Layer(Blob),
    Document(Vec<u8>),
    /// Compressed in a format that layers are not read in. The error is returned if the blob is used as a layer.
    Foreign(ImageError),
    /// Content that is not part of an image.
    Other,
}

/// Reads a blob of `size` bytes that begins at `position` in the archive.
pub(crate) fn read<S: LayerSink>(
    name: &str,
    (size, position): (u64, u64),
    mut file: impl Read,
    sink: &mut S,
) -> Result<Content, S::Error> {
    let mut start = Vec::with_capacity(512);
    file.by_ref().take(512).read_to_end(&mut start).map_err(ImageError::from_io)?;
    // Engines accept an empty file as an empty layer.
    let is_tar = start.is_empty() || start.len() == 512 && (&start[257..262] == b"ustar" || start.iter().all(|byte| *byte == 0));
    let compression = Compression::of(&start);
    let is_document = start.first() == Some(&b'{');
    let file = start.as_slice().chain(file);
    if is_tar {
        sink.layer(name, Some(position))?;
        let diff_id = entries(name, file, sink)?;
        Ok(Content::Layer(Blob { digest: diff_id, diff_id }))
    } else if let Some(compression) = compression {
        sink.layer(name, None)?;
        let mut file = HashingReader::new(file);
        // A file of at most one buffer does not justify a thread.
        let diff_id = match size <= buffer_pool::SIZE as u64 {
            true => entries(name, compression.inflate(&mut file)?, sink)?,
            false => entries(name, DecompressThread::start(compression, &mut file)?, sink)?,
        };
        Ok(Content::Layer(Blob { digest: file.digest()?, diff_id }))
    } else if let Some(error) = file_kind::layer(&start) {
        Ok(Content::Foreign(error))
    } else if name.ends_with("/layer.tar") {
        Err(ImageError::Malformed("a layer that is no tar archive, nor one compressed with gzip or zstd").into())
    } else if is_document {
        Ok(Content::Document(documents::read(size, file)?))
    } else {
        Ok(Content::Other)
    }
}

/// Passes a layer's entries to the sink, and returns the digest of the layer's archive.
fn entries<S: LayerSink>(name: &str, file: impl Read, sink: &mut S) -> Result<Sha256Digest, S::Error> {
    let mut file = HashingReader::new(file);
    let mut tape = EndCheckedReader::new(&mut file);
    let mut layer = TarReader::of_layer(&mut tape);
    while let Some(entry) = layer.next()? {
        check_entry(&entry)?;
        sink.entry(name, &entry, &mut layer)?;
    }
    tape.nothing_follows()?;
    Ok(file.digest()?)
}
