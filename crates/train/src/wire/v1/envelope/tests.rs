use openssl::sha::sha256;
use proptest::prelude::*;

use super::*;
use crate::vectors::{bytes, items, number, text, vector};

fn key() -> EnvelopeKey {
    EnvelopeKey::from_unwrapped(&[7; 32]).unwrap()
}

fn seal(key: &EnvelopeKey, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sealer = Sealer::new(key).unwrap();
    sealer.update(plain, &mut out).unwrap();
    sealer.finish(&mut out).unwrap();
    out
}

fn open(key: &EnvelopeKey, sealed: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let mut out = Vec::new();
    let mut opener = Opener::new(key);
    opener.update(sealed, &mut out)?;
    opener.finish(&mut out)?;
    Ok(out)
}

fn tail(sealed: &[u8]) -> &[u8; 32] {
    sealed.last_chunk().unwrap()
}

#[test]
fn files_are_sealed_and_opened_as_train_lib_does() {
    for case in items(&vector!("envelopes")) {
        let key = EnvelopeKey::from_unwrapped(&bytes(&case["key"])).unwrap();
        let plain: Vec<u8> = (0..number(&case["plain_len"])).map(|i| (i * 7 % 251) as u8).collect();
        let mut sealer = Sealer::with_iv(&key, bytes(&case["iv"]).try_into().unwrap()).unwrap();
        let mut sealed = Vec::new();
        plain.chunks(4096).for_each(|chunk| sealer.update(chunk, &mut sealed).unwrap());
        sealer.finish(&mut sealed).unwrap();
        assert_eq!(const_hex::encode(sha256(&sealed)), text(&case["sealed_sha256"]));
        assert!(case["sealed"].is_null() || sealed == bytes(&case["sealed"]));
        assert_eq!(sealed_len(plain.len() as u64), Some(number(&case["sealed_len"]) as u64));
        assert_eq!(opened_len(sealed.len() as u64, &key, tail(&sealed)), Ok(plain.len() as u64));
        assert_eq!(open(&key, &sealed).unwrap(), plain);
    }
}

#[test]
fn every_file_has_its_own_iv() {
    assert_ne!(seal(&key(), b"same")[..16], seal(&key(), b"same")[..16]);
}

#[test]
fn a_broken_envelope_is_one_error_whatever_is_wrong() {
    let key = key();
    let good = seal(&key, &[1; 40]);
    let mut padding = good.clone();
    padding[47] ^= 1; // last byte of the block before the last: flips the padding length
    for broken in [&[][..], &good[..15], &good[..16], &good[..17], &good[..good.len() - 1], &padding] {
        assert_eq!(open(&key, broken), Err(EnvelopeError::Broken));
    }
    let other = EnvelopeKey::from_unwrapped(&[8; 16]).unwrap();
    assert_eq!(open(&other, &good), Err(EnvelopeError::Broken));
    assert_eq!(opened_len(64, &other, tail(&good)), Err(EnvelopeError::Broken));
}

#[test]
fn a_size_no_sealed_file_can_have_is_refused() {
    let key = key();
    let sealed = seal(&key, b"");
    for len in [0, 16, 31, 33, 47, u64::MAX] {
        assert_eq!(opened_len(len, &key, tail(&sealed)), Err(EnvelopeError::Broken), "{len}");
    }
    assert_eq!(sealed_len(u64::MAX), None);
}

#[test]
fn the_whole_padding_is_checked_as_train_lib_checks_it() {
    let key = key();
    let mut sealed = seal(&key, b"");
    // An empty file is one block of sixteen 16s; flipping an IV bit flips that plaintext bit.
    for position in 0..16 {
        for bit in 0..8 {
            sealed[position] ^= 1 << bit;
            assert_eq!(open(&key, &sealed), Err(EnvelopeError::Broken));
            assert_eq!(opened_len(32, &key, tail(&sealed)), Err(EnvelopeError::Broken));
            sealed[position] ^= 1 << bit;
        }
    }
    assert_eq!(open(&key, &sealed), Ok(vec![]));
}

#[test]
fn only_aes_keys_are_keys_and_none_is_shown() {
    for len in [0, 15, 17, 31, 33, 64] {
        assert!(EnvelopeKey::from_unwrapped(&vec![7; len]).is_err());
    }
    assert_eq!(format!("{:?}", key()), "EnvelopeKey(32 bytes)");
    assert_ne!(EnvelopeKey::random().unwrap().as_bytes(), EnvelopeKey::random().unwrap().as_bytes());
    assert_eq!(EnvelopeKey::random().unwrap().as_bytes().len(), 32);
}

proptest! {
    #[test]
    fn what_is_sealed_in_any_chunks_opens_in_any_chunks(
        plain in prop::collection::vec(any::<u8>(), 0..5000),
        key_len in prop::sample::select(vec![16usize, 24, 32]),
        seal_chunk in 1usize..600,
        open_chunk in 1usize..600,
    ) {
        let key = EnvelopeKey::from_unwrapped(&vec![9; key_len]).unwrap();
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        let mut sealer = Sealer::new(&key).unwrap();
        for chunk in plain.chunks(seal_chunk) {
            sealer.update(chunk, &mut sealed).unwrap();
        }
        sealer.finish(&mut sealed).unwrap();
        prop_assert_eq!(sealed_len(plain.len() as u64), Some(sealed.len() as u64));
        prop_assert_eq!(opened_len(sealed.len() as u64, &key, tail(&sealed)), Ok(plain.len() as u64));
        let mut opener = Opener::new(&key);
        for chunk in sealed.chunks(open_chunk) {
            opener.update(chunk, &mut opened).unwrap();
        }
        opener.finish(&mut opened).unwrap();
        prop_assert_eq!(plain, opened);
    }

    #[test]
    fn the_size_is_exact_where_the_file_opens(mut blocks in any::<[u8; 32]>(), padding in 0u8..20) {
        let key = key();
        // Half of the cases: a last block that ends in `padding` bytes of that value, so that many open.
        let probe = open_block(&key, &blocks);
        for position in (16 - usize::from(padding).min(16))..16 {
            blocks[position] ^= probe[position] ^ padding;
        }
        let opened = open(&key, &blocks).map(|plain| plain.len() as u64);
        prop_assert_eq!(opened_len(32, &key, &blocks), opened);
    }
}

fn open_block(key: &EnvelopeKey, blocks: &[u8; 32]) -> [u8; 16] {
    let mut crypter = key.crypter(Mode::Decrypt, &blocks[..16]).unwrap();
    crypter.pad(false);
    let mut plain = [0; 32];
    crypter.update(&blocks[16..], &mut plain).unwrap();
    *plain.first_chunk().unwrap()
}
