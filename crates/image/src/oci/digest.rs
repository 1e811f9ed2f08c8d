//! Names of blobs by their digest (OCI image-layout.md "Blobs").

use stationmaster_train::digest::Sha256Digest;

/// Folder of blobs in an OCI layout, and the prefix of a blob's name.
pub(crate) const BLOBS: &str = "blobs/sha256/";

/// Returns the file name of the blob with a digest, which is always below `blobs`.
pub(crate) fn file_name(digest: &Sha256Digest) -> String {
    format!("{BLOBS}{}", digest.to_hex())
}

/// Returns the digest that a file's name states, if the file is a blob.
pub(crate) fn of_file(name: &str) -> Option<Sha256Digest> {
    Sha256Digest::from_hex(name.strip_prefix(BLOBS)?).ok()
}
