//! Finds key objects and reads their attributes.

use std::collections::BTreeMap;

use cryptoki::{
    context::Function,
    error::{Error, RvError},
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::Session,
};
use openssl::pkey::{PKey, Public};

use super::{
    attributes::{bytes, is_set},
    family::Family,
    public_half::{self, PublicHalf},
    token::is_logged_in,
};
use crate::{KeyDescription, KeyId, Pkcs11Uri, key::OtherKey};

/// A private key of the token, and its public half for OpenSSL.
#[derive(Debug, Clone)]
pub(super) struct PrivateKey {
    /// `CKA_LABEL` of the object. The description may have the label under which the key is configured.
    pub(super) object_label: String,
    /// Without capabilities: those are found by a trial.
    pub(super) description: KeyDescription,
    pub(super) public: PKey<Public>,
}

/// A private key object of a usable family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) handle: ObjectHandle,
    pub(super) family: Family,
}

/// What the token shows of a private key.
pub(super) enum Described {
    Key(Box<PrivateKey>),
    /// On a curve that is not used.
    Other(OtherKey),
    WithoutPublicHalf,
}

/// Returns the private keys of usable families with this label and id; of all labels and ids without them.
pub(super) fn private_keys(session: &Session, label: Option<&str>, id: Option<&[u8]>) -> Result<Vec<Found>, Error> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true)];
    template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
    template.extend(id.map(|id| Attribute::Id(id.to_vec())));
    let mut usable = Vec::new();
    for handle in found(session, &template)? {
        let attributes = session.get_attributes(handle, &[AttributeType::KeyType])?;
        if let [Attribute::KeyType(key_type)] = attributes[..]
            && let Some(family) = Family::of(key_type)
        {
            usable.push(Found { handle, family });
        }
    }
    Ok(usable)
}

/// Returns the private keys of the family with exactly this label and id: one, unless the token is inconsistent.
pub(super) fn private_keys_by_id(session: &Session, family: Family, label: &str, id: &[u8]) -> Result<Vec<ObjectHandle>, Error> {
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(family.key_type()),
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

/// Returns the type of a key of this label that is of no usable family: `AES`.
pub(super) fn other_kind(session: &Session, label: &str) -> Result<Option<String>, Error> {
    Ok(others(session, Some(label))?.into_iter().next().map(|(_, kind)| kind))
}

/// Returns label and type of the token's private and secret keys that are of no usable family; of all labels without one.
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
            if let Some(kind) = kind.filter(|kind| Family::of(*kind).is_none()) {
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

/// Reads a private key's attributes. The public half is read from the private object if it is given there, otherwise from the public
/// object with the same id.
pub(super) fn describe(session: &Session, Found { handle, family }: Found, token: &Pkcs11Uri) -> Result<Described, Error> {
    let wanted = [
        AttributeType::Label,
        AttributeType::Id,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::NeverExtractable,
        AttributeType::Local,
    ];
    let of_public = family.public_attributes();
    let attributes = session.get_attributes(handle, &[&wanted[..], &of_public].concat())?;
    let label = String::from_utf8_lossy(&bytes(&attributes, AttributeType::Label)).into_owned();
    let cka_id = bytes(&attributes, AttributeType::Id);
    let mut public = public_half::read(family, &attributes);
    if matches!(public, PublicHalf::Unknown) && !cka_id.is_empty() {
        let template = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(family.key_type()),
            Attribute::Token(true),
            Attribute::Id(cka_id.clone()),
        ];
        if let [object] = session.find_objects(&template)?[..] {
            public = public_half::read(family, &session.get_attributes(object, &of_public)?);
        }
    }
    let (public, key_type, spki_der) = match public {
        PublicHalf::Key { public, key_type, spki_der } => (public, key_type, spki_der),
        PublicHalf::OtherCurve(kind) => return Ok(Described::Other(OtherKey { label, kind })),
        PublicHalf::Unknown => return Ok(Described::WithoutPublicHalf),
    };
    let description = KeyDescription {
        id: KeyId::of_spki(&spki_der),
        uris: vec![Pkcs11Uri { object: Some(label.clone()), id: Some(cka_id.clone()), ..token.clone() }],
        label,
        cka_id,
        key_type,
        bits: key_type.bits(&public),
        spki_der,
        sensitive: is_set(&attributes, AttributeType::Sensitive),
        extractable: is_set(&attributes, AttributeType::Extractable),
        never_extractable: is_set(&attributes, AttributeType::NeverExtractable),
        generated_in_token: is_set(&attributes, AttributeType::Local),
        capabilities: BTreeMap::new(),
    };
    Ok(Described::Key(Box::new(PrivateKey { object_label: description.label.clone(), description, public })))
}
