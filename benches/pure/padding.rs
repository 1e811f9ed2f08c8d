//! Undoing OAEP in constant time.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use openssl::{
    encrypt::{Decrypter, Encrypter},
    hash::MessageDigest,
    pkey::PKey,
    rsa::{Padding, Rsa},
};
use stationmaster_keystore::{OaepScheme, fuzzing::unpad_oaep};
use zeroize::Zeroizing;

/// What a token's raw RSA answers for a wrapped key.
fn block() -> Vec<u8> {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut sender = Encrypter::new(&key).expect("OpenSSL");
    sender.set_rsa_padding(Padding::PKCS1_OAEP).expect("OpenSSL");
    sender.set_rsa_oaep_md(MessageDigest::sha512()).expect("OpenSSL");
    sender.set_rsa_mgf1_md(MessageDigest::sha512()).expect("OpenSSL");
    let mut wrapped = vec![0; 256];
    let len = sender.encrypt(&[9; 32], &mut wrapped).expect("OpenSSL");
    wrapped.truncate(len);
    let mut token = Decrypter::new(&key).expect("OpenSSL");
    token.set_rsa_padding(Padding::NONE).expect("OpenSSL");
    let mut block = vec![0; 256];
    assert_eq!(token.decrypt(&wrapped, &mut block).expect("OpenSSL"), 256);
    block
}

/// Of a key of 2048 bits.
pub fn oaep(criterion: &mut Criterion) {
    let block = block();
    let undone = unpad_oaep(Zeroizing::new(block.clone()), OaepScheme::Sha512).expect("a valid block");
    assert_eq!(undone[..], [9; 32]);
    criterion.bench_function("OAEP unpadding, 2048 bits, SHA-512", |bencher| {
        bencher.iter_batched(
            || Zeroizing::new(block.clone()),
            |block| black_box(unpad_oaep(block, OaepScheme::Sha512).expect("a valid block")),
            BatchSize::SmallInput,
        );
    });
}
