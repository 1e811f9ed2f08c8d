//! JSON Web Keys of keys on curves (RFC 7518 §6.2, RFC 8037 §2).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    bn::{BigNum, BigNumContext},
    error::ErrorStack,
    nid::Nid,
    pkey::{Id, PKey, Public},
    sha::sha256,
};

/// Returns the JSON Web Key of a SubjectPublicKeyInfo on one line; `kid` is its thumbprint (RFC 7638). `None` if it is on no curve that
/// keys have here.
pub(super) fn of_curve(spki_der: &[u8]) -> Option<String> {
    let key = PKey::public_key_from_der(spki_der).ok()?;
    let members = match key.id() {
        Id::ED25519 => format!(r#""crv":"Ed25519","kty":"OKP","x":"{}""#, encoded(&key.raw_public_key().ok()?)),
        Id::EC => {
            let (curve, size) = match key.ec_key().ok()?.group().curve_name()? {
                Nid::X9_62_PRIME256V1 => ("P-256", 32),
                Nid::SECP384R1 => ("P-384", 48),
                _ => return None,
            };
            let [x, y] = coordinates(&key, size).ok()?;
            format!(r#""crv":"{curve}","kty":"EC","x":"{}","y":"{}""#, encoded(&x), encoded(&y))
        }
        _ => return None,
    };
    // The thumbprint is over these members in this order.
    let kid = encoded(&sha256(format!("{{{members}}}").as_bytes()));
    Some(format!(r#"{{"kid":"{kid}",{members}}}"#))
}

fn coordinates(key: &PKey<Public>, size: i32) -> Result<[Vec<u8>; 2], ErrorStack> {
    let key = key.ec_key()?;
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut *BigNumContext::new()?)?;
    Ok([x.to_vec_padded(size)?, y.to_vec_padded(size)?])
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
