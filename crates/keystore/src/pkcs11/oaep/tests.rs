//! Compares this unpadding with OpenSSL's, over valid blocks and blocks with every kind of defect.

mod timing;

use openssl::{
    encrypt::Decrypter,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rand::rand_bytes,
    rsa::{Padding, Rsa},
};

use super::*;

const KEY_LEN: usize = 256;

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_bytes(&mut bytes).unwrap();
    bytes
}

fn below(limit: usize) -> usize {
    u64::from_be_bytes(random()) as usize % limit
}

/// An encoded block from its parts; `db` is everything after the label hash.
fn encode<D: Digest>(y: u8, label_hash: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut seed = random::<64>()[..<D as Digest>::output_size()].to_vec();
    let mut db = [label_hash, rest].concat();
    xor_mgf1::<D>(&mut db, &seed);
    xor_mgf1::<D>(&mut seed, &db);
    [&[y][..], &seed, &db].concat()
}

/// A block of the given class: 0 and 1 are good, all others are wrong in one way.
fn block<D: Digest>(class: usize) -> Vec<u8> {
    let hash = <D as Digest>::output_size();
    let room = KEY_LEN - 2 * hash - 1;
    let mut label = D::digest(b"").to_vec();
    let message_len = if class == 1 { [0, room - 1][below(2)] } else { below(room) };
    let mut rest = vec![0; room];
    rand_bytes(&mut rest[room - message_len..]).unwrap();
    rest[room - message_len - 1] = 1;
    let mut y = 0;
    match class {
        0 | 1 => {}
        2 => y = 1 + below(0x7f) as u8,
        3 => label[below(hash)] ^= 1 << below(8),
        4 => rest[room - message_len - 1] = 2 + below(254) as u8,
        5 => rest.fill(0),
        6 => {
            rest.fill(0);
            rest[room - 1] = 2 + below(254) as u8;
        }
        7 => rest[0] = 2 + below(254) as u8,
        8 => {
            let mut noise = random::<KEY_LEN>().to_vec();
            noise[0] &= 0x7f;
            return noise;
        }
        9 => {
            let mut noise = random::<KEY_LEN>().to_vec();
            noise[0] = 0;
            return noise;
        }
        _ => {
            y = 1;
            label[0] ^= 0x80;
            rest.fill(0xff);
        }
    }
    encode::<D>(y, &label, &rest)
}

fn openssl_says(key: &PKey<Private>, scheme: OaepScheme, block: &[u8]) -> Option<Vec<u8>> {
    let mut wrapped = vec![0; KEY_LEN];
    key.rsa().unwrap().public_encrypt(block, &mut wrapped, Padding::NONE).unwrap();
    let digest = match scheme {
        OaepScheme::Sha256 => MessageDigest::sha256(),
        OaepScheme::Sha512 => MessageDigest::sha512(),
    };
    let mut decrypter = Decrypter::new(key).unwrap();
    decrypter.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
    decrypter.set_rsa_oaep_md(digest).unwrap();
    decrypter.set_rsa_mgf1_md(digest).unwrap();
    let mut opened = vec![0; KEY_LEN];
    let len = decrypter.decrypt(&wrapped, &mut opened).ok()?;
    opened.truncate(len);
    Some(opened)
}

#[test]
fn six_thousand_blocks_are_taken_and_refused_as_openssl_does() {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let (mut good, mut bad) = (0, 0);
    for round in 0..6_000 {
        let scheme = OaepScheme::ALL[round % 2];
        let class = (round / 2) % 11;
        let block = match scheme {
            OaepScheme::Sha256 => block::<Sha256>(class),
            OaepScheme::Sha512 => block::<Sha512>(class),
        };
        let ours = unpad(Zeroizing::new(block.clone()), scheme).ok().map(|message| message.to_vec());
        assert_eq!(ours, openssl_says(&key, scheme, &block), "class {class}, {}", scheme.name());
        if ours.is_some() { good += 1 } else { bad += 1 }
    }
    assert!(good > 1_000 && bad > 4_000, "{good} good, {bad} bad");
}

#[test]
fn a_block_shorter_than_the_overhead_is_refused() {
    for len in 0..130 {
        assert_eq!(unpad(Zeroizing::new(vec![0; len]), OaepScheme::Sha512), Err(BadPadding));
    }
}
