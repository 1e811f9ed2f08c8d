//! OAEP: our unpadding in constant time against OpenSSL's own function, on the very same block.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use openssl::hash::{MessageDigest, hash};
use stationmaster_keystore::{OaepScheme, fuzzing::unpad_oaep};
use zeroize::Zeroizing;

// Exported by every OpenSSL from 1.0.2 on, but not named by the openssl crate, which is why it is named here.
unsafe extern "C" {
    fn EVP_sha256() -> *const c_void;
    fn EVP_sha512() -> *const c_void;
    fn RSA_padding_check_PKCS1_OAEP_mgf1(
        to: *mut u8,
        tlen: c_int,
        from: *const u8,
        flen: c_int,
        num: c_int,
        param: *const u8,
        plen: c_int,
        md: *const c_void,
        mgf1md: *const c_void,
    ) -> c_int;
}

/// The first byte says which hash, and how much of an honest block the rest is given: a block as it is, one that is masked here (so
/// that changes reach what is inside), or one that gets the right label hash, too.
pub fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    let scheme = OaepScheme::ALL[usize::from(how & 1)];
    let digest = match scheme {
        OaepScheme::Sha256 => MessageDigest::sha256(),
        OaepScheme::Sha512 => MessageDigest::sha512(),
    };
    let len = digest.size();
    let mut block = rest.to_vec();
    if how & 2 != 0 && block.len() > 1 + 2 * len {
        let (seed, db) = block[1..].split_at_mut(len);
        if how & 4 != 0 {
            db[..len].copy_from_slice(&hash(digest, b"").expect("OpenSSL"));
        }
        mask(digest, db, seed);
        mask(digest, seed, db);
        if how & 8 != 0 {
            block[0] = 0;
        }
    }
    let ours = unpad_oaep(Zeroizing::new(block.clone()), scheme).ok().map(|message| message.to_vec());
    assert_eq!(ours, reference(&block, scheme), "{}", scheme.name());
}

fn mask(digest: MessageDigest, target: &mut [u8], seed: &[u8]) {
    for (counter, piece) in (0u32..).zip(target.chunks_mut(digest.size())) {
        let mask = hash(digest, &[seed, &counter.to_be_bytes()].concat()).expect("OpenSSL");
        piece.iter_mut().zip(mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
    }
}

fn reference(block: &[u8], scheme: OaepScheme) -> Option<Vec<u8>> {
    let mut message = vec![0; block.len()];
    // SAFETY: `to` and `from` are as long as is said, the label is empty, and the digests are OpenSSL's own statics.
    let len = unsafe {
        let md = match scheme {
            OaepScheme::Sha256 => EVP_sha256(),
            OaepScheme::Sha512 => EVP_sha512(),
        };
        let len = block.len() as c_int;
        RSA_padding_check_PKCS1_OAEP_mgf1(message.as_mut_ptr(), len, block.as_ptr(), len, len, ptr::null(), 0, md, md)
    };
    // Its errors are queued for the thread.
    let _ = openssl::error::ErrorStack::get();
    message.truncate(usize::try_from(len).ok()?);
    Some(message)
}
