//! Generates key pairs.

use cryptoki::{
    error::{Error, RvError},
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, ObjectHandle},
    session::Session,
};
use openssl::rand::rand_bytes;

use super::{
    objects::{self, Described, Found},
    public_half::{ED25519, ED25519_NAME, P256, P384},
    rv::{RvClass, classify, code, translate},
    token::Token,
};
use crate::{Hash, KeyType, KeyUsage, KeystoreError, NewKey, SignScheme, TokenAccess, key::GeneratedKey, label::check_key};

/// Generates a key pair in the token: private, sensitive, never extractable, for signing (an RSA key also for decrypting, if its usage
/// has it), restricted to its usage's mechanisms where the token supports this. Takes seconds for RSA with 4096 bits.
///
/// # Errors
/// [`KeystoreError::LabelExists`], [`KeystoreError::KeySize`], [`KeystoreError::Label`], [`KeystoreError::KeyTypeUnfit`],
/// [`KeystoreError::KeyTypeUnsupported`], and errors of the login.
pub fn generate_key(access: &TokenAccess, label: &str, usage: KeyUsage, new: NewKey) -> Result<GeneratedKey, KeystoreError> {
    check_key(label)?;
    let key_type = new.key_type();
    if let NewKey::Rsa { bits } = new
        && ![2048, 3072, 4096].contains(&bits)
    {
        return Err(KeystoreError::KeySize { bits });
    }
    if !usage.suits(key_type) {
        return Err(KeystoreError::KeyTypeUnfit { key_type });
    }
    let token = Token::find(access)?;
    let session = token.writable_session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    if objects::label_is_taken(&session, label).map_err(|error| translate(&error))? {
        return Err(KeystoreError::LabelExists { label: label.to_owned() });
    }
    let mut id = [0; 16];
    rand_bytes(&mut id).map_err(|_| KeystoreError::Fault { operation: "random bytes".to_owned(), code: "OpenSSL".to_owned() })?;

    let (handle, mechanisms_restricted) = generate(&token, &session, &Wanted { label, id: &id, usage, new })?;
    let found = Found { handle, family: key_type.into() };
    let described = objects::describe(&session, found, token.uri()).map_err(|error| translate(&error))?;
    let Described::Key(key) = described else {
        return Err(KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" });
    };
    Ok(GeneratedKey { description: key.description, mechanisms_restricted })
}

struct Wanted<'a> {
    label: &'a str,
    id: &'a [u8],
    usage: KeyUsage,
    new: NewKey,
}

/// Attributes of a new key that some tokens refuse.
#[derive(Clone, Copy)]
struct Form {
    /// `CKA_ALLOWED_MECHANISMS`.
    restricts: bool,
    /// `CKA_VERIFY` and `CKA_ENCRYPT` of the public half. tpm2-pkcs11 refuses those of a key that does not decrypt, and sets its own. Its RSA
    /// keys sign nothing unless they decrypt, so that without these attributes only keys on curves are generated.
    names_public_use: bool,
}

/// The forms of a key, in the order in which they are tried.
const FORMS: [Form; 3] = [
    Form { restricts: true, names_public_use: true },
    Form { restricts: true, names_public_use: false },
    Form { restricts: false, names_public_use: true },
];

/// Generates a key pair in the forms that tokens know, until one is accepted. Returns the private key, and whether the token restricts
/// its mechanisms.
fn generate(token: &Token, session: &Session, wanted: &Wanted<'_>) -> Result<(ObjectHandle, bool), KeystoreError> {
    let mut refusal = None;
    for parameters in parameters(wanted.new) {
        for form in FORMS.into_iter().filter(|form| form.names_public_use || wanted.new.key_type() != KeyType::Rsa) {
            // After a refusal the session may still be in the failed call: the next call is in another one (this one still holds the
            // login).
            let made = match refusal {
                None => generate_pair(session, wanted, parameters.clone(), form),
                Some(_) => {
                    let fresh = token.writable_session().map_err(|error| translate(&error))?;
                    generate_pair(&fresh, wanted, parameters.clone(), form)
                }
            };
            match made {
                Ok(handle) => return Ok((handle, form.restricts)),
                // Tokens that do not support an attribute return one of many values; a real fault occurs again without it.
                Err(error) if matches!(classify(&error), RvClass::Other | RvClass::Refused) => refusal = Some(error),
                Err(error) => return Err(translate(&error)),
            }
        }
    }
    let key_type = wanted.new.key_type();
    Err(match refusal {
        Some(Error::Pkcs11(value, _)) if key_type != KeyType::Rsa && is_about_the_type(value) => {
            KeystoreError::KeyTypeUnsupported { key_type, code: code(&value) }
        }
        Some(error) => translate(&error),
        None => KeystoreError::KeyTypeUnfit { key_type },
    })
}

/// Returns whether a token refuses the curve or the mechanism, which it would do again.
fn is_about_the_type(value: RvError) -> bool {
    matches!(
        value,
        RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::FunctionNotSupported
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::AttributeValueInvalid
            | RvError::TemplateInconsistent
            | RvError::KeySizeRange
    )
}

/// Returns the attributes of a type's parameters, in the order in which they are tried.
fn parameters(new: NewKey) -> Vec<Vec<Attribute>> {
    let curve = |parameters: &[u8]| vec![Attribute::EcParams(parameters.to_vec())];
    match new {
        NewKey::Rsa { bits } => {
            vec![vec![Attribute::ModulusBits(u64::from(bits).into()), Attribute::PublicExponent(vec![1, 0, 1])]]
        }
        NewKey::EcP256 => vec![curve(P256)],
        NewKey::EcP384 => vec![curve(P384)],
        NewKey::Ed25519 => vec![curve(ED25519), curve(ED25519_NAME)],
    }
}

/// Generates a key pair. The attributes restrict its use, whether the token supports `CKA_ALLOWED_MECHANISMS` or not.
fn generate_pair(
    session: &Session,
    Wanted { label, id, usage, new }: &Wanted<'_>,
    parameters: Vec<Attribute>,
    form: Form,
) -> Result<ObjectHandle, Error> {
    let key_type = new.key_type();
    let (mechanism, encrypts) = match key_type {
        KeyType::Rsa => (Mechanism::RsaPkcsKeyPairGen, true),
        KeyType::EcP256 | KeyType::EcP384 => (Mechanism::EccKeyPairGen, false),
        KeyType::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, false),
    };
    let common = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
    let mut public = common.to_vec();
    public.push(Attribute::Private(false));
    public.extend(parameters);
    public.push(Attribute::Wrap(false));
    if form.names_public_use {
        public.extend([Attribute::Verify(true), Attribute::Encrypt(encrypts)]);
    }
    let mut private = common.to_vec();
    private.extend(private_half(*usage, key_type, form.restricts));
    let (_, handle) = session.generate_key_pair(&mechanism, &public, &private)?;
    Ok(handle)
}

pub(super) fn private_half(usage: KeyUsage, key_type: KeyType, restrict: bool) -> Vec<Attribute> {
    let mut private = vec![
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(usage.decrypts(key_type)),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ];
    if restrict {
        private.push(Attribute::AllowedMechanisms(mechanisms(usage, key_type)));
    }
    private
}

/// Returns the mechanisms of a usage with a key of this type. Raw RSA is among those of a key that decrypts, because without it a token
/// that lacks OAEP with SHA-512 could not open a train. With the PIN it is a signing oracle, which is why its output stays in this module.
fn mechanisms(usage: KeyUsage, key_type: KeyType) -> Vec<MechanismType> {
    let mut allowed = Vec::new();
    for scheme in usage.sign.iter().filter(|scheme| scheme.key_type() == key_type) {
        match scheme {
            SignScheme::Pkcs1(_) => allowed.push(MechanismType::RSA_PKCS),
            SignScheme::Pss(hash) => allowed.extend([MechanismType::RSA_PKCS_PSS, pss(*hash)]),
            SignScheme::PssSha512MaxSalt => allowed.extend([MechanismType::RSA_PKCS_PSS, pss(Hash::Sha512)]),
            SignScheme::EcdsaP256 | SignScheme::EcdsaP384 => allowed.push(MechanismType::ECDSA),
            SignScheme::Ed25519 => allowed.push(MechanismType::EDDSA),
        }
    }
    if usage.decrypts(key_type) {
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
    const CHECKPOINTS: KeyUsage =
        KeyUsage { sign: &[SignScheme::Pss(Hash::Sha256), SignScheme::EcdsaP256, SignScheme::Ed25519], unwrap: &[] };

    #[test]
    fn a_key_of_the_audit_never_decrypts_whether_the_token_restricts_mechanisms_or_not() {
        for restrict in [true, false] {
            let decrypts = |usage, key_type| {
                private_half(usage, key_type, restrict).iter().find_map(|attribute| match attribute {
                    Attribute::Decrypt(yes) => Some(*yes),
                    _ => None,
                })
            };
            for key_type in KeyType::ALL {
                assert_eq!(decrypts(CHECKPOINTS, key_type), Some(false));
                assert_eq!(decrypts(KeyUsage::ALL, key_type), Some(key_type == KeyType::Rsa));
            }
            assert_eq!(decrypts(TRAIN, KeyType::Rsa), Some(true));
        }
    }

    #[test]
    fn a_key_is_allowed_the_mechanisms_of_its_schemes_and_no_others() {
        use MechanismType as M;
        assert_eq!(mechanisms(CHECKPOINTS, KeyType::Rsa), [M::RSA_PKCS_PSS, M::SHA256_RSA_PKCS_PSS]);
        assert_eq!(mechanisms(TRAIN, KeyType::Rsa), [M::RSA_PKCS_PSS, M::SHA512_RSA_PKCS_PSS, M::RSA_PKCS_OAEP, M::RSA_X_509]);
        assert_eq!(mechanisms(KeyUsage::ALL, KeyType::Rsa).len(), 7);
        for (key_type, only) in [(KeyType::EcP256, M::ECDSA), (KeyType::EcP384, M::ECDSA), (KeyType::Ed25519, M::EDDSA)] {
            assert_eq!(mechanisms(KeyUsage::ALL, key_type), [only]);
            assert_eq!(mechanisms(TRAIN, key_type), []);
        }
        assert!(mechanisms(CHECKPOINTS, KeyType::EcP384).is_empty());
    }
}
