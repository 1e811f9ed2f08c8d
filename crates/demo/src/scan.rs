//! Searches a stream for byte strings, also across the boundary of two chunks.

/// The byte strings, and whether they were found.
pub(super) struct Scan {
    needles: Vec<(Vec<u8>, bool)>,
    tail: Vec<u8>,
    overlap: usize,
    bytes: u64,
}

impl Scan {
    pub(crate) fn new<T: AsRef<[u8]>>(needles: impl IntoIterator<Item = T>) -> Self {
        let needles: Vec<_> = needles.into_iter().map(|needle| (needle.as_ref().to_vec(), false)).collect();
        let overlap = needles.iter().map(|(needle, _)| needle.len()).max().unwrap_or(1).saturating_sub(1);
        Self { needles, tail: Vec::new(), overlap, bytes: 0 }
    }

    /// Scans the next chunk.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.tail.extend_from_slice(chunk);
        for (needle, seen) in &mut self.needles {
            *seen = *seen || contains(&self.tail, needle);
        }
        let done = self.tail.len().saturating_sub(self.overlap);
        self.tail.drain(..done);
    }

    /// Returns whether each needle was found, in the given order.
    pub(crate) fn seen(&self) -> Vec<bool> {
        self.needles.iter().map(|(_, seen)| *seen).collect()
    }

    /// Returns the number of scanned bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else { return true };
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|&byte| byte == first) {
        from += at + 1;
        if haystack[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_wherever_the_pieces_meet() {
        let stream = b"....aab-needle....";
        for cut in 0..stream.len() {
            let mut scan = Scan::new(["ab-needle", "absent"]);
            scan.update(&stream[..cut]);
            scan.update(&stream[cut..]);
            assert_eq!(scan.seen(), [true, false], "cut at {cut}");
        }
        let mut scan = Scan::new(["ab-needle"]);
        stream.iter().for_each(|byte| scan.update(&[*byte]));
        assert_eq!((scan.seen(), scan.bytes()), (vec![true], stream.len() as u64));
    }
}
