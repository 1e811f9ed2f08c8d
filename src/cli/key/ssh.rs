//! Public keys in OpenSSH's format (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{
    bn::{BigNumContext, BigNumRef},
    ec::PointConversionForm,
    nid::Nid,
    pkey::{Id, PKey},
};

/// Returns a SubjectPublicKeyInfo as a line of OpenSSH, without its end, with the label as comment. `None` if it is of no type that keys
/// have here.
pub(super) fn line(spki_der: &[u8], label: &str) -> Option<String> {
    let key = PKey::public_key_from_der(spki_der).ok()?;
    let (name, parts) = match key.id() {
        Id::RSA => {
            let key = key.rsa().ok()?;
            ("ssh-rsa", vec![integer(key.e()), integer(key.n())])
        }
        Id::ED25519 => ("ssh-ed25519", vec![key.raw_public_key().ok()?]),
        Id::EC => {
            let key = key.ec_key().ok()?;
            let (name, curve) = match key.group().curve_name()? {
                Nid::X9_62_PRIME256V1 => ("ecdsa-sha2-nistp256", "nistp256"),
                Nid::SECP384R1 => ("ecdsa-sha2-nistp384", "nistp384"),
                _ => return None,
            };
            let mut context = BigNumContext::new().ok()?;
            let point = key.public_key().to_bytes(key.group(), PointConversionForm::UNCOMPRESSED, &mut context).ok()?;
            (name, vec![curve.as_bytes().to_vec(), point])
        }
        _ => return None,
    };
    let mut blob = Vec::new();
    for part in [name.as_bytes().to_vec()].iter().chain(&parts) {
        blob.extend(u32::try_from(part.len()).ok()?.to_be_bytes());
        blob.extend(part);
    }
    // A comment ends with the line.
    let comment: String = label.chars().map(|letter| if letter.is_control() { '_' } else { letter }).collect();
    Some(format!("{name} {} {comment}", STANDARD.encode(blob)))
}

/// Returns a positive number as an `mpint` (RFC 4251 §5): the highest bit is its sign.
fn integer(number: &BigNumRef) -> Vec<u8> {
    let mut bytes = number.to_vec();
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    bytes
}
