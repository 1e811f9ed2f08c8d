//! Whether a file looks sealed, to somebody without its key. A sealed file is an IV and whole blocks that look random; what has
//! another length, is text, begins as a known format does, or has bytes that are far from equally frequent, is not sealed.
//!
//! What this says of plaintext is an estimate: content that is compressed or encrypted otherwise, without a beginning that is
//! known here and of a length that happens to fit, passes. What it says of sealed files holds: of a sealed file of any length the
//! chance to be called plain is below 2^-25, and nearly all of that is that its IV happens to begin as gzip does.

use super::BLOCK;

/// The shortest sealed file, in bytes: IV and one block.
const SHORTEST: u64 = 2 * BLOCK as u64;
/// From this many bytes on, frequencies are looked at: in fewer, random bytes and text can be too much alike.
const TELLING: u64 = 64;
/// Chi-square of byte frequencies against equal ones, 255 degrees of freedom: random bytes have 255 with a deviation of 23, English
/// text some 15 times its length.
const UNEQUAL: f64 = 600.0;
/// How files of formats begin that look random enough to pass otherwise.
const BEGINNINGS: [&[u8]; 7] = [
    b"PK\x03\x04",
    b"\x89PNG\r\n\x1a\n",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"%PDF-",
    b"\x89HDF\r\n\x1a\n",
];

/// What a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sealed.
    Sealed,
    /// Of a sealed file's length, and too short to tell more.
    TooShortToTell,
    /// Not sealed: plaintext or broken. The text says why; it holds nothing of the file.
    NotSealed(&'static str),
}

/// Looks at one file, chunk by chunk.
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
    /// Looks at the next chunk.
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

    /// Ends the file: says what it looks like, and is ready for the next.
    pub fn verdict(&mut self) -> Verdict {
        let verdict = self.judge();
        self.len = 0;
        self.begin = [0; 8];
        self.counts.fill(0);
        verdict
    }

    fn judge(&self) -> Verdict {
        if !has_sealed_len(self.len) {
            return Verdict::NotSealed("its length is not a sealed file's");
        }
        if self.is_text() {
            return Verdict::NotSealed("it is text");
        }
        // gzip: two bytes of magic, the one method, and no reserved flag.
        let is_gzip = self.begin.starts_with(b"\x1f\x8b\x08") && self.begin[3] < 32;
        if is_gzip || BEGINNINGS.iter().any(|known| self.begin.starts_with(known)) {
            return Verdict::NotSealed("it begins as a known format does");
        }
        match self.len {
            ..TELLING => Verdict::TooShortToTell,
            _ if self.chi_square() > UNEQUAL => Verdict::NotSealed("its bytes are not equally frequent"),
            _ => Verdict::Sealed,
        }
    }

    /// Printable ASCII and white space alone: of 32 random bytes, once in 10^13 files.
    fn is_text(&self) -> bool {
        let printable = |byte: &usize| matches!(byte, 0x20..=0x7e | 0x09..=0x0d);
        (0..256).filter(printable).map(|byte| self.counts[byte]).sum::<u64>() == self.len
    }

    fn chi_square(&self) -> f64 {
        // Exact enough: a file of 2^53 bytes does not exist.
        let expected = self.len as f64 / 256.0;
        self.counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
    }
}

/// Whether a file of this many bytes can be a sealed one: at least 32, in whole blocks of 16.
pub fn has_sealed_len(len: u64) -> bool {
    len >= SHORTEST && len.is_multiple_of(BLOCK as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::envelope::{EnvelopeKey, Sealer};

    fn verdict(content: &[u8]) -> Verdict {
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
            let expected = if len < 32 { Verdict::TooShortToTell } else { Verdict::Sealed };
            for _ in 0..20 {
                assert_eq!(verdict(&sealed(&vec![b'a'; len])), expected, "{len} bytes of plaintext");
            }
        }
    }

    #[test]
    fn plaintext_of_a_fitting_length_is_told_by_its_content() {
        let csv: String = (0..4000).map(|row| format!("{row},{},{:.3}\n", row % 7, f64::from(row) / 3.0)).collect();
        let floats: Vec<u8> = (0..4000).flat_map(|row| (f64::from(row) / 3.0).to_le_bytes()).collect();
        let hex: String = const_hex::encode(sealed(&[7; 900]));
        for (what, content) in [("a table", csv.as_bytes()), ("floats", &floats), ("hex", hex.as_bytes()), ("zeros", &[0; 4096])]
        {
            for len in [32, 48, 64, 256, 1024] {
                let verdict = verdict(&content[..len]);
                let short = len < 64 && what != "a table" && what != "hex";
                assert!(matches!(verdict, Verdict::NotSealed(_)) || short, "{len} bytes of {what}: {verdict:?}");
            }
        }
        for beginning in BEGINNINGS.iter().chain(&[&b"\x1f\x8b\x08\0"[..]]) {
            let mut content = sealed(&[0; 1000]);
            content[..beginning.len()].copy_from_slice(beginning);
            assert_eq!(verdict(&content), Verdict::NotSealed("it begins as a known format does"));
        }
    }

    #[test]
    fn another_length_is_no_sealed_files() {
        for len in [0, 1, 16, 31, 33, 47] {
            assert!(!has_sealed_len(len) && matches!(verdict(&sealed(&[0; 64])[..len as usize]), Verdict::NotSealed(_)), "{len}");
        }
    }

    #[test]
    fn one_file_says_nothing_of_the_next() {
        let mut shape = Shape::default();
        shape.update(&[b'a'; 64]);
        assert!(matches!(shape.verdict(), Verdict::NotSealed(_)));
        shape.update(&sealed(&[0; 100]));
        assert_eq!(shape.verdict(), Verdict::Sealed);
    }
}
