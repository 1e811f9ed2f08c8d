use openssl::{
    bn::{BigNum, BigNumContext},
    pkey::{PKey, Private, Public},
    rsa::{Padding, Rsa, RsaPrivateKeyBuilder},
};

use super::*;
use crate::verify::signature_holds;

const COUNT: usize = 100;

/// A key, and what a token without PSS does with a block.
struct RawKey {
    private: Rsa<Private>,
    public: PKey<Public>,
}

impl RawKey {
    fn new(bits: u32) -> RawKey {
        RawKey::of(Rsa::generate(bits).unwrap())
    }

    /// A key of any size, which OpenSSL does not generate: it makes all sizes even.
    fn of_odd_size(bits: u32) -> RawKey {
        let prime = |bits: u32| {
            let mut prime = BigNum::new().unwrap();
            prime.generate_prime(bits.cast_signed(), false, None, None).unwrap();
            prime
        };
        let one = BigNum::from_u32(1).unwrap();
        loop {
            let (p, q, e) = (prime(bits / 2), prime(bits - bits / 2), BigNum::from_u32(65537).unwrap());
            let (n, phi) = (&p * &q, &(&p - &one) * &(&q - &one));
            let mut d = BigNum::new().unwrap();
            let inverted = d.mod_inverse(&e, &phi, &mut BigNumContext::new().unwrap());
            if n.num_bits().cast_unsigned() == bits && inverted.is_ok() {
                return RawKey::of(RsaPrivateKeyBuilder::new(n, e, d).unwrap().build());
            }
        }
    }

    fn of(private: Rsa<Private>) -> RawKey {
        let public = Rsa::from_public_components(private.n().to_owned().unwrap(), private.e().to_owned().unwrap()).unwrap();
        RawKey { private, public: PKey::from_rsa(public).unwrap() }
    }

    fn sign(&self, block: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.private.size() as usize];
        self.private.private_encrypt(block, &mut signature, Padding::NONE).unwrap();
        signature
    }
}

fn flipped(bytes: &[u8], index: usize, mask: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[index] ^= mask;
    bytes
}

/// Removes the mask, changes the data block and masks it again, with the same hash.
fn with_changed_data(block: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut block = block.to_vec();
    let end = block.len() - 65;
    let (masked, rest) = block.split_at_mut(end);
    xor_mgf1::<Sha512>(masked, &rest[..64]);
    masked[0] &= 0x7f;
    change(masked);
    xor_mgf1::<Sha512>(masked, &rest[..64]);
    masked[0] &= 0x7f;
    block
}

#[track_caller]
fn blocks_of(bits: u32) {
    let scheme = SignScheme::PssSha512MaxSalt;
    let (key, other) = (RawKey::new(bits), RawKey::new(bits));
    let longest = scheme.salt_len(bits).unwrap();
    let mut salts = std::collections::BTreeSet::new();
    for number in 0..COUNT {
        let mut digest = [0; 64];
        rand_bytes(&mut digest).unwrap();
        let block = encode(scheme, bits, &digest).unwrap().unwrap();
        assert_eq!(block.len(), key.private.size() as usize);
        let holds = |signature: &[u8]| signature_holds(&key.public, scheme, &digest, signature);
        let signature = key.sign(&block);
        assert!(holds(&signature), "block {number} of {bits} bits");
        let mut salt = [0; 16];
        with_changed_data(&block, |data| salt.copy_from_slice(&data[data.len() - 16..]));
        assert!(salts.insert(salt), "a salt of {bits} bits came twice");

        let place = number % 64;
        let hash_at = block.len() - 65;
        let altered_blocks = [
            ("another trailer", flipped(&block, block.len() - 1, 1 << (number % 8))),
            ("a bit of the hash", flipped(&block, hash_at + place, 1 << (number % 8))),
            ("a bit of the masked data", flipped(&block, 1 + number, 1 << (number % 8))),
            ("a bit of the salt", with_changed_data(&block, |data| data[1 + place] ^= 1)),
            ("no separator", with_changed_data(&block, |data| data[0] = 0)),
            ("another separator", with_changed_data(&block, |data| data[0] = 2)),
            ("a shorter salt", with_salt::<Sha512>(bits, &digest, &vec![7; longest - 1])),
            ("no salt", with_salt::<Sha512>(bits, &digest, &[])),
            ("another digest", encode(scheme, bits, &flipped(&digest, place, 1)).unwrap().unwrap()),
            ("another hash", with_salt::<Sha384>(bits, &digest[..48], &vec![7; longest])),
        ];
        for (what, block) in &altered_blocks {
            assert!(!holds(&key.sign(block)), "{what}, block {number} of {bits} bits");
        }
        assert!(!holds(&flipped(&signature, number, 1)), "a bit of the signature, block {number} of {bits} bits");
        // Another modulus may be smaller than the block.
        if number == 0 {
            let block = flipped(&block, 0, block[0] & 0xc0);
            assert!(!holds(&other.sign(&block)), "another key of {bits} bits");
        }
        assert!(!holds(&signature[..signature.len() - 1]), "a byte less, block {number} of {bits} bits");
    }
}

#[test]
fn openssl_accepts_every_block_of_2048_bits_and_no_altered_one() {
    blocks_of(2048);
}

#[test]
fn openssl_accepts_every_block_of_3072_bits_and_no_altered_one() {
    blocks_of(3072);
}

#[test]
fn openssl_accepts_every_block_of_4096_bits_and_no_altered_one() {
    blocks_of(4096);
}

#[test]
fn every_pss_scheme_is_encoded_and_no_other_one() {
    let key = RawKey::new(2048);
    for scheme in SignScheme::ALL {
        let digest = vec![0x5a; scheme.hash().map_or(32, Hash::digest_len)];
        match encode(scheme, 2048, &digest).unwrap() {
            Some(block) => assert!(signature_holds(&key.public, scheme, &digest, &key.sign(&block)), "{}", scheme.name()),
            None => assert!(!matches!(scheme, SignScheme::Pss(_) | SignScheme::PssSha512MaxSalt)),
        }
        assert_eq!(encode(scheme, 264, &digest).unwrap(), None, "a key that is too small");
    }
}

#[test]
fn a_modulus_with_a_bit_more_than_whole_bytes_gets_a_block_that_is_a_byte_longer_than_the_encoding() {
    for bits in [2047, 2049, 2053] {
        let key = RawKey::of_odd_size(bits);
        for scheme in [SignScheme::PssSha512MaxSalt, SignScheme::Pss(Hash::Sha256)] {
            let digest = vec![0x5a; scheme.hash().unwrap().digest_len()];
            let block = encode(scheme, bits, &digest).unwrap().unwrap();
            assert!(signature_holds(&key.public, scheme, &digest, &key.sign(&block)), "{bits} bits, {}", scheme.name());
        }
    }
}
