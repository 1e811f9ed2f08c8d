//! Generates key pairs.

use cryptoki::{
    error::Error,
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, ObjectHandle},
    session::Session,
};
use openssl::rand::rand_bytes;

use super::{
    objects,
    rv::{RvClass, classify, translate},
    token::Token,
};
use crate::{Hash, KeyUsage, KeystoreError, SignScheme, TokenAccess, key::GeneratedKey, label::check_key};

/// Generates an RSA key pair of 2048, 3072 or 4096 bits in the token: private, sensitive, never extractable, for signing and
/// decrypting, restricted to its purpose's mechanisms where the token supports this. Takes seconds for 4096 bits.
///
/// # Errors
/// [`KeystoreError::LabelExists`], [`KeystoreError::KeySize`], [`KeystoreError::Label`], and errors of the login.
pub fn generate_key(access: &TokenAccess, label: &str, usage: KeyUsage, bits: u32) -> Result<GeneratedKey, KeystoreError> {
    check_key(label)?;
    if ![2048, 3072, 4096].contains(&bits) {
        return Err(KeystoreError::KeySize { bits });
    }
    let token = Token::find(access)?;
    let session = token.writable_session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    if objects::label_is_taken(&session, label).map_err(|error| translate(&error))? {
        return Err(KeystoreError::LabelExists { label: label.to_owned() });
    }
    let mut id = [0; 16];
    rand_bytes(&mut id).map_err(|_| KeystoreError::Fault { operation: "random bytes".to_owned(), code: "OpenSSL".to_owned() })?;

    let (handle, mechanisms_restricted) = match generate(&session, label, &id, bits, (usage, true)) {
        Ok(handle) => (handle, true),
        // Tokens that do not support the attribute return one of many values; a real fault occurs again without it.
        Err(error) if matches!(classify(&error), RvClass::Other | RvClass::Refused) => {
            // The session may still be in the failed call: continue in another one (this one still holds the login).
            let fresh = token.writable_session().map_err(|error| translate(&error))?;
            let handle = generate(&fresh, label, &id, bits, (usage, false)).map_err(|error| translate(&error))?;
            (handle, false)
        }
        Err(error) => return Err(translate(&error)),
    };
    let key = objects::describe(&session, handle, token.uri()).map_err(|error| translate(&error))?.ok_or_else(|| {
        KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" }
    })?;
    Ok(GeneratedKey { description: key.description, mechanisms_restricted })
}

/// Generates a key pair. The attributes restrict its use, whether the token supports `CKA_ALLOWED_MECHANISMS` (`restrict`) or not.
fn generate(
    session: &Session,
    label: &str,
    id: &[u8],
    bits: u32,
    (usage, restrict): (KeyUsage, bool),
) -> Result<ObjectHandle, Error> {
    let common = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
    let mut public = common.to_vec();
    public.extend([
        Attribute::Private(false),
        Attribute::ModulusBits(u64::from(bits).into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
        Attribute::Verify(true),
        Attribute::Encrypt(true),
        Attribute::Wrap(false),
    ]);
    let mut private = common.to_vec();
    private.extend(private_half(usage, restrict));
    let (_, handle) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
    Ok(handle)
}

fn private_half(usage: KeyUsage, restrict: bool) -> Vec<Attribute> {
    let mut private = vec![
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(usage.decrypts()),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    if restrict {
        private.push(Attribute::AllowedMechanisms(mechanisms(usage)));
    }
    private
}

/// Returns the mechanisms of a usage. Raw RSA is among those of a key that decrypts, because without it a token that lacks OAEP
/// with SHA-512 could not open a train. With the PIN it is a signing oracle, which is why its output stays in this module.
fn mechanisms(usage: KeyUsage) -> Vec<MechanismType> {
    let mut allowed = Vec::new();
    for scheme in usage.sign {
        let needed: &[_] = match scheme {
            SignScheme::Pkcs1(_) => &[MechanismType::RSA_PKCS],
            SignScheme::Pss(_) | SignScheme::PssSha512MaxSalt => &[MechanismType::RSA_PKCS_PSS, pss(scheme.hash())],
        };
        allowed.extend(needed);
    }
    if usage.decrypts() {
        allowed.extend([MechanismType::RSA_PKCS_OAEP, MechanismType::RSA_X_509]);
    }
    let mut seen = Vec::new();
    allowed.retain(|mechanism| {
        let is_new = !seen.contains(mechanism);
        seen.push(*mechanism);
        is_new
    });
    allowed
}

fn pss(hash: Hash) -> MechanismType {
    match hash {
        Hash::Sha256 => MechanismType::SHA256_RSA_PKCS_PSS,
        Hash::Sha384 => MechanismType::SHA384_RSA_PKCS_PSS,
        Hash::Sha512 => MechanismType::SHA512_RSA_PKCS_PSS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OaepScheme;

    const TRAIN: KeyUsage = KeyUsage { sign: &[SignScheme::PssSha512MaxSalt], unwrap: &[OaepScheme::Sha512] };
    const CHECKPOINTS: KeyUsage = KeyUsage { sign: &[SignScheme::Pss(Hash::Sha256)], unwrap: &[] };

    #[test]
    fn a_key_of_the_audit_never_decrypts_whether_the_token_restricts_mechanisms_or_not() {
        for restrict in [true, false] {
            let decrypts = |usage| {
                private_half(usage, restrict).iter().find_map(|attribute| match attribute {
                    Attribute::Decrypt(yes) => Some(*yes),
                    _ => None,
                })
            };
            assert_eq!(decrypts(CHECKPOINTS), Some(false));
            assert_eq!((decrypts(TRAIN), decrypts(KeyUsage::ALL)), (Some(true), Some(true)));
        }
    }

    #[test]
    fn a_key_is_allowed_the_mechanisms_of_its_schemes_and_no_others() {
        use MechanismType as M;
        assert_eq!(mechanisms(CHECKPOINTS), [M::RSA_PKCS_PSS, M::SHA256_RSA_PKCS_PSS]);
        assert_eq!(mechanisms(TRAIN), [M::RSA_PKCS_PSS, M::SHA512_RSA_PKCS_PSS, M::RSA_PKCS_OAEP, M::RSA_X_509]);
        assert_eq!(mechanisms(KeyUsage::ALL).len(), 7);
    }
}
