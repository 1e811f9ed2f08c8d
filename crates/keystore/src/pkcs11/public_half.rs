//! Reads a public key from the attributes of a key object.

use cryptoki::object::{Attribute, AttributeType};
use openssl::{
    asn1::Asn1Object,
    bn::{BigNum, BigNumContext},
    ec::{EcGroup, EcKey, EcPoint},
    error::ErrorStack,
    nid::Nid,
    pkey::{Id, PKey, Public},
    rsa::Rsa,
};

use super::{attributes::bytes, family::Family};
use crate::KeyType;

/// `CKA_EC_PARAMS` of P-256: its object identifier in DER, as RFC 5480 §2.1.1.1 has it.
pub(super) const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// `CKA_EC_PARAMS` of P-384.
pub(super) const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";
/// `CKA_EC_PARAMS` of Ed25519 by the curve's name (PKCS#11 v3.0 §2.3.5), which SoftHSM requires.
pub(super) const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";
/// `CKA_EC_PARAMS` of Ed25519 by object identifier (RFC 8410 §3).
pub(super) const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
/// `CKA_EC_PARAMS` of Ed25519 by the object identifier that tokens used before RFC 8410.
const ED25519_OLD: &[u8] = b"\x06\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01";

/// The public half, as far as attributes show it.
#[derive(Debug)]
pub(super) enum PublicHalf {
    Key {
        public: PKey<Public>,
        key_type: KeyType,
        /// SubjectPublicKeyInfo, DER.
        spki_der: Vec<u8>,
    },
    /// A key on a curve that is not used, with the name of its type.
    OtherCurve(String),
    /// The attributes are missing, or are no public key.
    Unknown,
}

/// Reads a public key from attributes of its private or public object.
pub(super) fn read(family: Family, attributes: &[Attribute]) -> PublicHalf {
    let value = |attribute| bytes(attributes, attribute);
    let key = match family {
        Family::Rsa => rsa(&value(AttributeType::Modulus), &value(AttributeType::PublicExponent)),
        Family::Curve | Family::Edwards => {
            let (parameters, point) = (value(AttributeType::EcParams), value(AttributeType::EcPoint));
            if parameters.is_empty() {
                return PublicHalf::Unknown;
            }
            match curve(family, &parameters) {
                Some(KeyType::EcP256) => on_curve(Nid::X9_62_PRIME256V1, 32, &point),
                Some(KeyType::EcP384) => on_curve(Nid::SECP384R1, 48, &point),
                Some(_) => ed25519(&point),
                None => return PublicHalf::OtherCurve(name(family, &parameters)),
            }
        }
    };
    let described = |public: PKey<Public>| {
        let spki_der = public.public_key_to_der().ok()?;
        Some(PublicHalf::Key { key_type: KeyType::of(&public)?, public, spki_der })
    };
    key.and_then(described).unwrap_or(PublicHalf::Unknown)
}

fn curve(family: Family, parameters: &[u8]) -> Option<KeyType> {
    match (family, parameters) {
        (Family::Curve, P256) => Some(KeyType::EcP256),
        (Family::Curve, P384) => Some(KeyType::EcP384),
        (Family::Edwards, ED25519 | ED25519_NAME | ED25519_OLD) => Some(KeyType::Ed25519),
        _ => None,
    }
}

/// Returns the name of a type that is not used: `EC secp256k1`, `EC_EDWARDS`.
fn name(family: Family, parameters: &[u8]) -> String {
    let family = if family == Family::Curve { "EC" } else { "EC_EDWARDS" };
    let curve = match parameters {
        [0x06, length, identifier @ ..] if identifier.len() == usize::from(*length) => known(identifier),
        _ => None,
    };
    curve.map_or_else(|| family.to_owned(), |curve| format!("{family} {curve}"))
}

/// Returns OpenSSL's name of an object identifier, or its numbers.
fn known(identifier: &[u8]) -> Option<String> {
    // Numbers of seven bits, the first of which has two (X.690 §8.19).
    let mut numbers = Vec::new();
    let mut number = 0_u64;
    for byte in identifier {
        number = number.checked_mul(128)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(number);
            number = 0;
        }
    }
    let dotted = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
    match Asn1Object::from_str(&dotted).ok()?.nid() {
        Nid::UNDEF => Some(dotted),
        nid => nid.short_name().ok().map(str::to_owned),
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<PKey<Public>> {
    if modulus.is_empty() || exponent.is_empty() {
        return None;
    }
    let key = || -> Result<_, ErrorStack> {
        let numbers = (BigNum::from_slice(modulus)?, BigNum::from_slice(exponent)?);
        PKey::from_rsa(Rsa::from_public_components(numbers.0, numbers.1)?)
    };
    key().ok()
}

/// Returns the key of a point on a curve with coordinates of `size` bytes.
fn on_curve(curve: Nid, size: usize, point: &[u8]) -> Option<PKey<Public>> {
    let point = content(point, 1 + 2 * size)?;
    let key = || -> Result<_, ErrorStack> {
        let group = EcGroup::from_curve_name(curve)?;
        // Refuses a point that is not on the curve.
        let point = EcPoint::from_bytes(&group, point, &mut *BigNumContext::new()?)?;
        let key = EcKey::from_public_key(&group, &point)?;
        key.check_key()?;
        PKey::from_ec_key(key)
    };
    key().ok()
}

fn ed25519(point: &[u8]) -> Option<PKey<Public>> {
    PKey::public_key_from_raw_bytes(content(point, 32)?, Id::ED25519).ok()
}

/// Returns the `size` bytes of a `CKA_EC_POINT`. The standard wraps them in an OCTET STRING, drafts for Edwards curves in a BIT STRING,
/// and some tokens give them alone.
fn content(point: &[u8], size: usize) -> Option<&[u8]> {
    let content = match point {
        [0x04, length, content @ ..] if content.len() == size && usize::from(*length) == size => content,
        [0x03, length, 0, content @ ..] if content.len() == size && usize::from(*length) == size + 1 => content,
        _ => point,
    };
    (content.len() == size).then_some(content)
}

#[cfg(test)]
mod tests;
