//! Public keys: DER, PEM, hex of PEM, and bare numbers.

use openssl::rsa::Rsa;
use stationmaster_train::{
    config::HexText,
    keys::{KeyError, MAX_BITS, MIN_BITS, PublicKey},
};

/// The first byte says which spelling follows.
pub fn run(input: &[u8]) {
    let Some((form, rest)) = input.split_first() else { return };
    let read: Result<PublicKey, KeyError> = match form % 4 {
        0 => PublicKey::from_spki_der(rest),
        1 => PublicKey::from_pem(rest),
        2 => match std::str::from_utf8(rest) {
            Ok(text) => PublicKey::from_hex_pem(&HexText::new(text.to_owned())),
            Err(_) => return,
        },
        _ => match rest.split_first_chunk::<2>() {
            Some((at, numbers)) => {
                let at = usize::from(u16::from_be_bytes(*at)) % (numbers.len() + 1);
                PublicKey::from_components(&numbers[..at], &numbers[at..])
            }
            None => return,
        },
    };
    let key = match read {
        Ok(key) => key,
        Err(error) => return assert_ne!(error, KeyError::Unavailable, "no input is the library's fault"),
    };
    assert!((MIN_BITS..=MAX_BITS).contains(&key.bits()));
    assert_eq!(key.size(), key.bits().div_ceil(8) as usize);
    assert!(key.modulus().last().is_some_and(|byte| byte % 2 == 1) && key.exponent().last().is_some_and(|byte| byte % 2 == 1));
    if form % 4 == 0 {
        assert_eq!(key.to_der(), rest, "one spelling only");
    }
    for again in [
        PublicKey::from_spki_der(&key.to_der()),
        PublicKey::from_pem(key.to_pem().as_bytes()),
        PublicKey::from_hex_pem(&HexText::from_bytes(key.to_pem().as_bytes())),
        PublicKey::from_components(&key.modulus(), &key.exponent()),
    ] {
        let again = again.expect("what we write, we read");
        assert_eq!((again.fingerprint(), again), (key.fingerprint(), key.clone()));
    }
    assert!(Rsa::public_key_from_pem(key.to_pem().as_bytes()).is_ok(), "OpenSSL reads it, too");
    assert!(serde_json::from_str::<serde_json::Value>(&key.to_jwk_json()).is_ok());
    // Nothing verifies, and nothing panics on the way.
    assert!(key.verify_pkcs1_sha512_of(b"", &vec![1; key.size()]).is_err());
}
