//! Merkle tree over a log's records (RFC 6962 §2.1): the roots of its complete subtrees, sufficient for appending and for the root.

use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// Returns the hash of a record: of its line, without the newline (RFC 6962: 0x00 before a leaf).
#[must_use]
pub fn leaf_hash(line: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(line).finalize().into()
}

/// Hashes a record that arrives in parts.
pub(super) struct LeafHasher(Sha256);

impl Default for LeafHasher {
    fn default() -> Self {
        Self(Sha256::new().chain_update([0]))
    }
}

impl LeafHasher {
    pub(super) fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    pub(super) fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The right edge of the tree: one root for each one-bit of the size, the largest subtree first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// Returns the frontier of `size` leaves; `None` when the number of roots does not fit the size.
    pub(super) fn new(size: u64, roots: Vec<Hash>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize).then_some(Self { size, roots })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn roots(&self) -> &[Hash] {
        &self.roots
    }

    pub(super) fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        let mut size = self.size;
        // Complete subtrees on the right edge are joined, like a carry in addition.
        while size & 1 == 1
            && let Some(left) = self.roots.pop()
        {
            root = node_hash(&left, &root);
            size >>= 1;
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// Returns the tree's root; of an empty tree, the hash of the empty string.
    pub(super) fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => Sha256::digest([]).into(),
            Some(&last) => roots.fold(last, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the root by the definition of RFC 6962 §2.1: split at the largest power of two below the size.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node_hash(&by_definition(&many[..split]), &by_definition(&many[split..]))
            }
        }
    }

    #[test]
    fn the_root_is_the_one_that_the_rfc_defines() {
        let leaves: Vec<Hash> = (0..70_u8).map(|number| leaf_hash(&[number])).collect();
        let mut frontier = Frontier::default();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), by_definition(&leaves[..size]), "{size}");
            assert_eq!(Frontier::new(frontier.size(), frontier.roots().to_vec()).as_ref(), Some(&frontier));
            frontier.push(*leaf);
        }
        assert_eq!(Frontier::new(3, vec![[0; 32]]), None);
    }

    #[test]
    fn the_known_roots_of_certificate_transparency() {
        // Reference values published with certificate-transparency's own tests: leaves "", 00, 10, 2021.
        let mut frontier = Frontier::default();
        assert_eq!(const_hex::encode(frontier.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        frontier.push(leaf_hash(b""));
        assert_eq!(const_hex::encode(frontier.root()), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        frontier.push(leaf_hash(&[0]));
        assert_eq!(const_hex::encode(frontier.root()), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
    }
}
