//! Conversions between the wire format and the keystore.

use stationmaster_keystore::{Hash, KeyType, OaepScheme, SignScheme};
use stationmaster_proto as pb;
use stationmaster_train::keys::{spki_fingerprint, spki_pem};

use crate::{
    authz::Purpose,
    protocol::StationKey,
    service::status::{Reason, Refusal},
};

pub(super) fn signature_scheme(number: i32) -> Result<SignScheme, Refusal> {
    use pb::SignatureScheme as Wire;
    Ok(match Wire::try_from(number) {
        Ok(Wire::RsaPssSha256) => SignScheme::Pss(Hash::Sha256),
        Ok(Wire::RsaPssSha384) => SignScheme::Pss(Hash::Sha384),
        Ok(Wire::RsaPssSha512) => SignScheme::Pss(Hash::Sha512),
        Ok(Wire::RsaPkcs1Sha256) => SignScheme::Pkcs1(Hash::Sha256),
        Ok(Wire::RsaPkcs1Sha384) => SignScheme::Pkcs1(Hash::Sha384),
        Ok(Wire::RsaPkcs1Sha512) => SignScheme::Pkcs1(Hash::Sha512),
        Ok(Wire::RsaPssSha512MaxSalt) => SignScheme::PssSha512MaxSalt,
        Ok(Wire::EcdsaP256Sha256) => SignScheme::EcdsaP256,
        Ok(Wire::EcdsaP384Sha384) => SignScheme::EcdsaP384,
        Ok(Wire::Ed25519) => SignScheme::Ed25519,
        Ok(Wire::Unspecified) | Err(_) => return Err(unknown_scheme()),
    })
}

/// Longest message that is signed, in bytes.
const LONGEST_MESSAGE: usize = 32 << 10;

/// Returns what a scheme signs of a request: the digest or, for Ed25519, the message.
pub(super) fn signed(scheme: SignScheme, request: &pb::SignRequest) -> Result<&[u8], Refusal> {
    let malformed =
        |field: &str, text: String| Reason::MalformedRequest.status(format!("{field} {text}")).with_field(field, text);
    match scheme.hash().map(Hash::digest_len) {
        Some(_) if !request.message.is_empty() => {
            Err(malformed("message", "must be empty for this scheme, which signs a digest".to_owned()))
        }
        Some(length) if request.digest.len() != length => {
            Err(malformed("digest", format!("must be {length} bytes for this scheme")))
        }
        Some(_) => Ok(&request.digest),
        None if !request.digest.is_empty() => {
            Err(malformed("digest", "must be empty for this scheme, which signs the message".to_owned()))
        }
        // An empty message is that of a client that knows digests only.
        None if request.message.is_empty() || request.message.len() > LONGEST_MESSAGE => {
            Err(malformed("message", format!("must be 1 to {LONGEST_MESSAGE} bytes")))
        }
        None => Ok(&request.message),
    }
}

pub(super) fn wrapping_scheme(number: i32) -> Result<OaepScheme, Refusal> {
    use pb::WrappingScheme as Wire;
    Ok(match Wire::try_from(number) {
        Ok(Wire::RsaOaepSha256) => OaepScheme::Sha256,
        Ok(Wire::RsaOaepSha512) => OaepScheme::Sha512,
        Ok(Wire::Unspecified) | Err(_) => return Err(unknown_scheme()),
    })
}

fn unknown_scheme() -> Refusal {
    Reason::MalformedRequest.status("scheme is not set or not known").with_field("scheme", "must be one of the defined schemes")
}

fn key_type(key_type: KeyType) -> pb::KeyType {
    match key_type {
        KeyType::Rsa => pb::KeyType::Rsa,
        KeyType::EcP256 => pb::KeyType::EcP256,
        KeyType::EcP384 => pb::KeyType::EcP384,
        KeyType::Ed25519 => pb::KeyType::Ed25519,
    }
}

/// Converts a key to its message.
pub fn key_message(StationKey { description: key, purpose }: &StationKey) -> pb::Key {
    let pem = spki_pem(&key.spki_der);
    let purpose = match purpose {
        Purpose::Train => pb::KeyPurpose::Train,
        Purpose::General => pb::KeyPurpose::General,
        Purpose::Audit => pb::KeyPurpose::Audit,
        // No caller is shown such a key.
        Purpose::Tls => pb::KeyPurpose::Unspecified,
    };
    pb::Key {
        label: key.label.clone(),
        id: key.cka_id.clone(),
        purpose: purpose.into(),
        r#type: key_type(key.key_type).into(),
        bits: key.bits,
        public_key_hex_pem: const_hex::encode(&pem),
        public_key_pem: pem,
        public_key_der: key.spki_der.clone(),
        fingerprint: spki_fingerprint(&key.spki_der),
        sensitive: key.sensitive,
        never_extractable: key.never_extractable,
        generated_in_token: key.generated_in_token,
        extractable: key.extractable,
        uris: key.uris.iter().map(ToString::to_string).collect(),
        capabilities: key.capabilities.iter().map(|(name, way)| ((*name).to_owned(), way.name().to_owned())).collect(),
    }
}
