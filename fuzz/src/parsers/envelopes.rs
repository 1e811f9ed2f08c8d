//! Sealed files: in pieces, in one, and by OpenSSL alone.

use openssl::symm::{Cipher, decrypt};
use stationmaster_train::envelope::{BLOCK, EnvelopeKey, Opener, Sealer, opened_len, sealed_len};
use zeroize::Zeroizing;

/// The first byte says how long the key is, the second what is done, the third in which pieces.
pub fn run(input: &[u8]) {
    let [key, way, piece, rest @ ..] = input else { return };
    let key_len = [16, 24, 32, 17][usize::from(*key) % 4];
    let key: Vec<u8> = (0..key_len).map(|i| i as u8).collect();
    let Ok(envelope_key) = EnvelopeKey::from_unwrapped(&key) else { return assert_eq!(key_len, 17) };
    let piece = usize::from(*piece) + 1;
    if way % 2 == 0 {
        open(&envelope_key, &key, piece, rest);
    } else {
        let sealed = seal(&envelope_key, piece, rest);
        assert_eq!(sealed_len(rest.len() as u64), Some(sealed.len() as u64));
        assert_eq!(open(&envelope_key, &key, piece, &sealed).as_deref(), Some(rest));
    }
}

fn seal(key: &EnvelopeKey, piece: usize, plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    let mut sealer = Sealer::new(key).expect("OpenSSL");
    plain.chunks(piece).for_each(|piece| sealer.update(piece, &mut sealed).expect("OpenSSL"));
    sealer.finish(&mut sealed).expect("OpenSSL");
    sealed
}

fn open(key: &EnvelopeKey, key_bytes: &[u8], piece: usize, sealed: &[u8]) -> Option<Vec<u8>> {
    let in_pieces = opened(key, piece, sealed);
    assert_eq!(in_pieces, opened(key, usize::MAX, sealed), "pieces do not matter");
    assert_eq!(in_pieces, reference(key_bytes, sealed), "as OpenSSL opens it in one");
    if let Some(last) = sealed.last_chunk::<{ 2 * BLOCK }>() {
        let len = opened_len(sealed.len() as u64, key, last).ok();
        assert_eq!(len, in_pieces.as_ref().map(|plain| plain.len() as u64), "the length was known before");
    } else {
        assert_eq!(in_pieces, None);
    }
    in_pieces
}

fn opened(key: &EnvelopeKey, piece: usize, sealed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Zeroizing::new(Vec::new());
    let mut opener = Opener::new(key);
    for piece in sealed.chunks(piece) {
        opener.update(piece, &mut plain).ok()?;
    }
    opener.finish(&mut plain).ok()?;
    Some(plain.to_vec())
}

fn reference(key: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (iv, body) = sealed.split_at_checked(BLOCK)?;
    let cipher = match key.len() {
        16 => Cipher::aes_128_cbc(),
        24 => Cipher::aes_192_cbc(),
        _ => Cipher::aes_256_cbc(),
    };
    decrypt(cipher, key, Some(iv), body).ok()
}
