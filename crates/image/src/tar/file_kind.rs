//! Detects files of another kind by their first bytes, and names the command that converts each to a supported kind.

use super::header::OTHER_DIALECT;
use crate::ImageError;

/// Error text for an archive with a premature end.
pub(super) const CUT_OFF: &str = "it ends too early";

/// A kind of file.
struct Kind {
    /// First bytes of such a file.
    start: &'static [u8],
    name: &'static str,
    convert: &'static str,
}

const fn kind(start: &'static [u8], name: &'static str, convert: &'static str) -> Kind {
    Kind { start, name, convert }
}

const BY_LIBARCHIVE: &str = "bsdtar -cf - @FILE | stationmaster … -";
const SAVE: &str = "docker save IMAGE -o FILE, or skopeo copy docker://IMAGE docker-archive:FILE";

/// Compressed files.
const COMPRESSED: [Kind; 9] = [
    kind(b"\x1f\x8b", "compressed with gzip", "gunzip -c FILE | stationmaster … -"),
    kind(b"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -dc FILE | stationmaster … -"),
    kind(b"\xfd7zXZ\0", "compressed with xz", "xz -dc FILE | stationmaster … -"),
    kind(b"BZh", "compressed with bzip2", "bunzip2 -c FILE | stationmaster … -"),
    kind(b"\x04\x22\x4d\x18", "compressed with lz4", "lz4 -dc FILE | stationmaster … -"),
    kind(b"\x02\x21\x4c\x18", "compressed with lz4 (its old form)", "lz4 -dc FILE | stationmaster … -"),
    kind(b"\x5d\0\0", "compressed with lzma", "xz --format=lzma -dc FILE | stationmaster … -"),
    kind(b"LZIP", "compressed with lzip", "lzip -dc FILE | stationmaster … -"),
    kind(b"\x1f\x9d", "compressed with compress", "gunzip -c FILE | stationmaster … -"),
];

/// Other files that are mistaken for an image.
const OTHERS: [Kind; 18] = [
    kind(b"PK\x03\x04", "a zip archive", BY_LIBARCHIVE),
    kind(b"PK\x05\x06", "an empty zip archive", SAVE),
    kind(b"7z\xbc\xaf\x27\x1c", "a 7z archive", BY_LIBARCHIVE),
    kind(b"Rar!", "a rar archive", BY_LIBARCHIVE),
    kind(b"070701", "a cpio archive", BY_LIBARCHIVE),
    kind(b"070707", "a cpio archive", BY_LIBARCHIVE),
    kind(b"\xc7\x71", "a cpio archive", BY_LIBARCHIVE),
    kind(b"!<arch>\n", "an ar archive", SAVE),
    kind(b"hsqs", "a squashfs file system", SAVE),
    kind(b"#!", "a script, or an Apptainer image", SAVE),
    kind(b"\x7fELF", "a program", SAVE),
    kind(b"-----BEGIN", "a PEM file (a key or a certificate)", SAVE),
    kind(b"version https://git-lfs", "a Git LFS pointer, without the file", "git lfs pull"),
    kind(b"<", "a web page, or XML: perhaps the answer to a download without login", SAVE),
    kind(b"{", "JSON: perhaps a manifest or configuration alone", SAVE),
    kind(b"[", "JSON: perhaps a manifest alone", SAVE),
    kind(b"\xef\xbb\xbf", "text", SAVE),
    kind(b"%PDF", "a PDF document", SAVE),
];

fn found(start: &[u8], kinds: &'static [Kind]) -> Option<&'static Kind> {
    kinds.iter().find(|kind| start.starts_with(kind.start))
}

/// Returns the kind of an archive with these first bytes, given the tar reader's error in its first header.
pub(crate) fn archive(start: &[u8], error: ImageError) -> ImageError {
    let (kind, convert) = match (found(start, &COMPRESSED).or_else(|| found(start, &OTHERS)), &error) {
        (Some(kind), _) => (kind.name, kind.convert),
        (None, _) if start.is_empty() => ("empty", SAVE),
        // It may be cut off, or use an unsupported dialect.
        (None, ImageError::Malformed(flaw)) if [CUT_OFF, OTHER_DIALECT].contains(flaw) => return error,
        (None, _) => ("of no kind that is known here", SAVE),
    };
    ImageError::Foreign { what: "no tar archive: the file", kind, convert }
}

/// Top directories of a Linux file system that no image archive has, without `/opt`.
pub(crate) const ROOTS: [&str; 17] = [
    ".dockerenv",
    "bin",
    "boot",
    "dev",
    "etc",
    "home",
    "lib",
    "lib64",
    "mnt",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "sys",
    "usr",
    "var",
];

/// Whether a path in an archive is that of a whole file system.
pub(crate) fn is_of_file_system(path: &[u8]) -> bool {
    let root = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    ROOTS.iter().any(|name| name.as_bytes() == root)
}

/// Returns the error for an archive of a whole file system.
pub(crate) fn file_system() -> ImageError {
    ImageError::Foreign {
        what: "no image archive: the file",
        kind: "a container's file system, as `docker export` writes it, without layers and configuration",
        convert: "docker commit CONTAINER IMAGE && docker save IMAGE -o FILE",
    }
}

/// Returns the error for a layer in an unsupported compression format; `None` if it does not look compressed.
pub(crate) fn layer(start: &[u8]) -> Option<ImageError> {
    let kind = found(start, &COMPRESSED)?.name;
    let convert = "skopeo copy oci-archive:FILE docker-archive:PLAIN.tar (or oci:DIR in place of oci-archive:FILE)";
    Some(ImageError::Foreign { what: "gzip and zstd are read, and a layer", kind, convert })
}

#[cfg(test)]
mod tests {
    use crate::{
        tar::reader::TarReader,
        test_archives::{FILE, tar_of},
    };

    fn told(file: &[u8]) -> String {
        let mut entries = TarReader::new(file);
        loop {
            match entries.next() {
                Err(error) => return error.to_string(),
                Ok(None) => return "read".to_owned(),
                Ok(Some(_)) => {}
            }
        }
    }

    #[test]
    fn a_file_of_another_kind_is_named_however_short() {
        for (start, kind) in [
            (&b"\x1f\x8b\x08\0"[..], "gzip"),
            (b"\xfd7zXZ\0", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"BZh9", "bzip2"),
            (b"PK\x03\x04", "zip"),
            (b"7z\xbc\xaf\x27\x1c", "7z"),
            (b"{\"schemaVersion\":2}", "JSON"),
            (b"", "empty"),
        ] {
            for length in [start.len(), 600] {
                let mut file = start.to_vec();
                if !start.is_empty() {
                    file.resize(length, b'x');
                }
                let told = told(&file);
                assert!(told.starts_with("no tar archive") && told.contains(kind), "{kind}: {told}");
            }
        }
        assert!(told(&[b'n'; 600]).contains("no kind"));
        assert!(told(&[b'n'; 100]).contains("too early"), "it may be cut off");
        let good = tar_of(&[("a", FILE, b"1")]);
        assert_eq!(told(&good), "read");
        let mut second = tar_of(&[("a", FILE, b"1"), ("b", FILE, b"")]);
        second[1024] = 0x1f;
        assert!(told(&second).contains("checksum"), "it began as a tar archive");
    }
}
