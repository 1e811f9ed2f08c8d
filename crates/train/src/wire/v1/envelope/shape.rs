//! Detects whether a file looks sealed, without its key.
//!
//! A sealed file is an IV and whole blocks that look random. A file is not sealed if its length does not fit, if it is text, if
//! it begins as a known format does, or if its byte frequencies are far from equal.
//!
//! Plaintext detection is an estimate: content that is compressed or encrypted otherwise passes if it has no known beginning
//! and its length happens to fit. For sealed files the result is reliable: a sealed file of any length is classified as plain
//! with a probability below 2^-25, nearly all of it because the IV happens to begin as gzip does.

use super::BLOCK;

/// Minimum size of a sealed file, in bytes: IV and one block. Its plaintext has at most 15 bytes.
pub const MIN_SEALED_LEN: u64 = 2 * BLOCK as u64;
/// Minimum size for the frequency test, in bytes: with fewer, random bytes and text can be too similar.
const TELLING: u64 = 64;
/// Chi-square limit of byte frequencies against equal ones, 255 degrees of freedom: random bytes have 255 with a deviation
/// of 23, English text some 15 times its length.
const UNEQUAL: f64 = 600.0;
/// First bytes of file formats that look random enough to pass otherwise.
const BEGINNINGS: [&[u8]; 7] = [
    b"PK\x03\x04",
    b"\x89PNG\r\n\x1a\n",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"%PDF-",
    b"\x89HDF\r\n\x1a\n",
];

/// Result of the shape check of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeVerdict {
    /// Sealed.
    Sealed,
    /// The length fits a sealed file, but is too short for further tests.
    TooShortToTell,
    /// Not sealed: plaintext or broken. The text states the reason and contains nothing of the file.
    NotSealed(&'static str),
}

/// Checks the shape of one file, chunk by chunk.
#[derive(Clone, Debug)]
pub struct Shape {
    len: u64,
    begin: [u8; 8],
    counts: Box<[u64; 256]>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { len: 0, begin: [0; 8], counts: Box::new([0; 256]) }
    }
}

impl Shape {
    /// Processes the next chunk.
    pub fn update(&mut self, content: &[u8]) {
        if self.len < 8 {
            let at = self.len as usize; // below 8
            for (place, byte) in self.begin[at..].iter_mut().zip(content) {
                *place = *byte;
            }
        }
        for byte in content {
            self.counts[usize::from(*byte)] += 1;
        }
        self.len += content.len() as u64;
    }

    /// Ends the file, returns the verdict, and resets the state for the next file.
    pub fn verdict(&mut self) -> ShapeVerdict {
        let verdict = self.classify();
        self.len = 0;
        self.begin = [0; 8];
        self.counts.fill(0);
        verdict
    }

    fn classify(&self) -> ShapeVerdict {
        if !has_sealed_len(self.len) {
            return ShapeVerdict::NotSealed("its length is not a sealed file's");
        }
        if self.is_text() {
            return ShapeVerdict::NotSealed("it is text");
        }
        // gzip: two bytes of magic, the one method, and no reserved flag.
        let is_gzip = self.begin.starts_with(b"\x1f\x8b\x08") && self.begin[3] < 32;
        if is_gzip || BEGINNINGS.iter().any(|known| self.begin.starts_with(known)) {
            return ShapeVerdict::NotSealed("it begins as a known format does");
        }
        match self.len {
            ..TELLING => ShapeVerdict::TooShortToTell,
            _ if self.chi_square() > UNEQUAL => ShapeVerdict::NotSealed("its bytes are not equally frequent"),
            _ => ShapeVerdict::Sealed,
        }
    }

    /// Whether the content is only printable ASCII and white space: true of 32 random bytes once in 10^13 files.
    fn is_text(&self) -> bool {
        let printable = |byte: &usize| matches!(byte, 0x20..=0x7e | 0x09..=0x0d);
        (0..256).filter(printable).map(|byte| self.counts[byte]).sum::<u64>() == self.len
    }

    fn chi_square(&self) -> f64 {
        // Exact enough: no file has 2^53 bytes.
        let expected = self.len as f64 / 256.0;
        self.counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
    }
}

/// Whether a sealed file can have this size in bytes: at least 32, in whole blocks of 16.
pub fn has_sealed_len(len: u64) -> bool {
    len >= MIN_SEALED_LEN && len.is_multiple_of(BLOCK as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{EnvelopeKey, Sealer};

    fn verdict(content: &[u8]) -> ShapeVerdict {
        let mut shape = Shape::default();
        for chunk in content.chunks(7) {
            shape.update(chunk);
        }
        shape.verdict()
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let (key, mut out) = (EnvelopeKey::random().unwrap(), Vec::new());
        let mut sealer = Sealer::new(&key).unwrap();
        sealer.update(plain, &mut out).unwrap();
        sealer.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn what_we_seal_looks_sealed_whatever_it_was_and_however_long() {
        for len in (0..400).chain([1 << 12, 1 << 16, (1 << 20) + 3]) {
            let expected = if len < 32 { ShapeVerdict::TooShortToTell } else { ShapeVerdict::Sealed };
            for _ in 0..20 {
                assert_eq!(verdict(&sealed(&vec![b'a'; len])), expected, "{len} bytes of plaintext");
            }
        }
    }

    #[test]
    fn plaintext_of_a_valid_length_is_recognised_by_its_content() {
        let csv: String = (0..4000).map(|row| format!("{row},{},{:.3}\n", row % 7, f64::from(row) / 3.0)).collect();
        let floats: Vec<u8> = (0..4000).flat_map(|row| (f64::from(row) / 3.0).to_le_bytes()).collect();
        let hex: String = const_hex::encode(sealed(&[7; 900]));
        for (what, content) in [("a table", csv.as_bytes()), ("floats", &floats), ("hex", hex.as_bytes()), ("zeros", &[0; 4096])]
        {
            for len in [32, 48, 64, 256, 1024] {
                let verdict = verdict(&content[..len]);
                let short = len < 64 && what != "a table" && what != "hex";
                assert!(matches!(verdict, ShapeVerdict::NotSealed(_)) || short, "{len} bytes of {what}: {verdict:?}");
            }
        }
        for beginning in BEGINNINGS.iter().chain(&[&b"\x1f\x8b\x08\0"[..]]) {
            let mut content = sealed(&[0; 1000]);
            content[..beginning.len()].copy_from_slice(beginning);
            assert_eq!(verdict(&content), ShapeVerdict::NotSealed("it begins as a known format does"));
        }
    }

    #[test]
    fn another_length_is_no_sealed_files() {
        for len in [0, 1, 16, 31, 33, 47] {
            assert!(
                !has_sealed_len(len) && matches!(verdict(&sealed(&[0; 64])[..len as usize]), ShapeVerdict::NotSealed(_)),
                "{len}"
            );
        }
    }

    #[test]
    fn one_file_determines_nothing_of_the_next() {
        let mut shape = Shape::default();
        shape.update(&[b'a'; 64]);
        assert!(matches!(shape.verdict(), ShapeVerdict::NotSealed(_)));
        shape.update(&sealed(&[0; 100]));
        assert_eq!(shape.verdict(), ShapeVerdict::Sealed);
    }
}
