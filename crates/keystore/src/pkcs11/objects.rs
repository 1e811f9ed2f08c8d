//! Finds key objects and reads their attributes.

use std::collections::BTreeMap;

use cryptoki::{
    context::Function,
    error::{Error, RvError},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use openssl::{
    bn::BigNum,
    error::ErrorStack,
    pkey::{PKey, Public},
    rsa::Rsa,
};

use super::token::is_logged_in;
use crate::{KeyDescription, KeyId, Pkcs11Uri};

/// An RSA private key of the token, and its public half for OpenSSL.
#[derive(Debug, Clone)]
pub(super) struct PrivateKey {
    /// Without capabilities: those are found by a trial.
    pub(super) description: KeyDescription,
    pub(super) public: PKey<Public>,
}

/// Returns the private RSA keys of the token with this label and id; of all labels and ids without them.
pub(super) fn private_keys(session: &Session, label: Option<&str>, id: Option<&[u8]>) -> Result<Vec<ObjectHandle>, Error> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::RSA), Attribute::Token(true)];
    template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
    template.extend(id.map(|id| Attribute::Id(id.to_vec())));
    found(session, &template)
}

/// Returns the private keys with exactly this label and id: one, unless the token is inconsistent.
pub(super) fn private_keys_by_id(session: &Session, label: &str, id: &[u8]) -> Result<Vec<ObjectHandle>, Error> {
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    found(session, &template)
}

/// Finds objects. Without a login private objects are hidden: an empty result then means a lost login, not a missing key.
fn found(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Error> {
    let objects = session.find_objects(template)?;
    if !objects.is_empty() {
        return Ok(objects);
    }
    if !is_logged_in(session)? {
        return Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::FindObjects));
    }
    // Another thread may have logged in again between the search and the check, so an empty result is final only after this search.
    session.find_objects(template)
}

/// Returns the type of a key of this label that is not an RSA key: `EC`, `AES`.
pub(super) fn other_kind(session: &Session, label: &str) -> Result<Option<String>, Error> {
    Ok(others(session, Some(label))?.into_iter().next().map(|(_, kind)| kind))
}

/// Returns label and type of the token's private and secret keys that are not RSA keys; of all labels without one.
pub(super) fn others(session: &Session, label: Option<&str>) -> Result<Vec<(String, String)>, Error> {
    let mut others = Vec::new();
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
        let mut template = vec![Attribute::Class(class), Attribute::Token(true)];
        template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
        for handle in session.find_objects(&template)? {
            let (mut label, mut kind) = (String::new(), None);
            for attribute in session.get_attributes(handle, &[AttributeType::Label, AttributeType::KeyType])? {
                match attribute {
                    Attribute::Label(bytes) => label = String::from_utf8_lossy(&bytes).into_owned(),
                    Attribute::KeyType(of) => kind = Some(of),
                    _ => {}
                }
            }
            if let Some(kind) = kind.filter(|kind| *kind != KeyType::RSA) {
                let name = kind.to_string();
                others.push((label, name.strip_prefix("CKK_").unwrap_or(&name).to_owned()));
            }
        }
    }
    others.sort();
    Ok(others)
}

/// Returns whether any private or public key has the label.
pub(super) fn label_is_taken(session: &Session, label: &str) -> Result<bool, Error> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec())];
        if !session.find_objects(&template)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads a private key's attributes; returns `None` when its public half cannot be determined. The public half is read from the
/// private object if it is given there, otherwise from the public object with the same id.
pub(super) fn describe(session: &Session, handle: ObjectHandle, token: &Pkcs11Uri) -> Result<Option<PrivateKey>, Error> {
    const PUBLIC_HALF: [AttributeType; 2] = [AttributeType::Modulus, AttributeType::PublicExponent];
    let wanted = [
        AttributeType::Label,
        AttributeType::Id,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::NeverExtractable,
        AttributeType::Local,
    ];
    let attributes = session.get_attributes(handle, &[&wanted[..], &PUBLIC_HALF].concat())?;
    let cka_id = bytes(&attributes, AttributeType::Id);
    let mut public = public_key(&attributes);
    if public.is_none() && !cka_id.is_empty() {
        let template = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Token(true),
            Attribute::Id(cka_id.clone()),
        ];
        if let [object] = session.find_objects(&template)?[..] {
            public = public_key(&session.get_attributes(object, &PUBLIC_HALF)?);
        }
    }
    let Some((public, spki_der)) = public else { return Ok(None) };
    let label = String::from_utf8_lossy(&bytes(&attributes, AttributeType::Label)).into_owned();
    let description = KeyDescription {
        id: KeyId::of_spki(&spki_der),
        uris: vec![Pkcs11Uri { object: Some(label.clone()), id: Some(cka_id.clone()), ..token.clone() }],
        label,
        cka_id,
        bits: public.bits(),
        spki_der,
        sensitive: is_set(&attributes, AttributeType::Sensitive),
        extractable: is_set(&attributes, AttributeType::Extractable),
        never_extractable: is_set(&attributes, AttributeType::NeverExtractable),
        generated_in_token: is_set(&attributes, AttributeType::Local),
        capabilities: BTreeMap::new(),
    };
    Ok(Some(PrivateKey { description, public }))
}

/// Returns the public key of the attributes, and its SubjectPublicKeyInfo.
fn public_key(attributes: &[Attribute]) -> Option<(PKey<Public>, Vec<u8>)> {
    let (modulus, exponent) = (bytes(attributes, AttributeType::Modulus), bytes(attributes, AttributeType::PublicExponent));
    if modulus.is_empty() || exponent.is_empty() {
        return None;
    }
    let key = || -> Result<_, ErrorStack> {
        let numbers = (BigNum::from_slice(&modulus)?, BigNum::from_slice(&exponent)?);
        let key = PKey::from_rsa(Rsa::from_public_components(numbers.0, numbers.1)?)?;
        let der = key.public_key_to_der()?;
        Ok((key, der))
    };
    key().ok()
}

/// Returns a byte string among the attributes; empty when the object does not have it.
fn bytes(attributes: &[Attribute], wanted: AttributeType) -> Vec<u8> {
    let found =
        attributes.iter().filter(|attribute| attribute.attribute_type() == wanted).find_map(|attribute| match attribute {
            Attribute::Label(bytes) | Attribute::Id(bytes) | Attribute::Modulus(bytes) | Attribute::PublicExponent(bytes) => {
                Some(bytes.clone())
            }
            _ => None,
        });
    found.unwrap_or_default()
}

/// Returns whether a flag among the attributes is set.
fn is_set(attributes: &[Attribute], wanted: AttributeType) -> bool {
    attributes.iter().filter(|attribute| attribute.attribute_type() == wanted).any(|attribute| {
        matches!(
            attribute,
            Attribute::Sensitive(true)
                | Attribute::Extractable(true)
                | Attribute::NeverExtractable(true)
                | Attribute::Local(true)
        )
    })
}
