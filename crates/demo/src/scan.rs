//! Searches a stream for byte strings, also across the boundary of two chunks.

/// What is looked for, and whether it was seen.
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

    /// Looks through the next piece.
    pub(crate) fn piece(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.tail.extend_from_slice(piece);
        for (needle, seen) in &mut self.needles {
            *seen = *seen || holds(&self.tail, needle);
        }
        let done = self.tail.len().saturating_sub(self.overlap);
        self.tail.drain(..done);
    }

    /// Whether each needle was seen, in the order given.
    pub(crate) fn seen(&self) -> Vec<bool> {
        self.needles.iter().map(|(_, seen)| *seen).collect()
    }

    /// How much was looked through.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
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
            scan.piece(&stream[..cut]);
            scan.piece(&stream[cut..]);
            assert_eq!(scan.seen(), [true, false], "cut at {cut}");
        }
        let mut scan = Scan::new(["ab-needle"]);
        stream.iter().for_each(|byte| scan.piece(&[*byte]));
        assert_eq!((scan.seen(), scan.bytes()), (vec![true], stream.len() as u64));
    }
}
