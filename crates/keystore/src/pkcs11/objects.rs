//! Finds key objects and reads their attributes.

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

/// Attributes of an RSA private key. The public half is read from the private object if it is given there, otherwise from
/// the public object with the same id.
#[derive(Debug, Clone)]
pub(super) struct PrivateKey {
    pub(super) label: String,
    pub(super) id: Vec<u8>,
    pub(super) public: PKey<Public>,
    pub(super) spki_der: Vec<u8>,
    pub(super) sensitive: bool,
    pub(super) extractable: bool,
    pub(super) never_extractable: bool,
    pub(super) local: bool,
}

impl PrivateKey {
    /// Returns whether it is the same object as far as the token shows: then earlier probe results still apply.
    pub(super) fn is_the_same(&self, other: &PrivateKey) -> bool {
        let flags = |key: &PrivateKey| (key.sensitive, key.extractable, key.never_extractable, key.local);
        (&self.label, &self.id, &self.spki_der, flags(self)) == (&other.label, &other.id, &other.spki_der, flags(other))
    }
}

/// Returns the private RSA keys of the token with this label (all without a label).
pub(super) fn private_keys(session: &Session, label: Option<&str>) -> Result<Vec<ObjectHandle>, Error> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(KeyType::RSA), Attribute::Token(true)];
    template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
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

/// Reads a private key's attributes; returns `None` when its public half cannot be determined.
pub(super) fn describe(session: &Session, handle: ObjectHandle) -> Result<Option<PrivateKey>, Error> {
    let mut key = PrivateKeyParts::default();
    let wanted = [
        AttributeType::Label,
        AttributeType::Id,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::NeverExtractable,
        AttributeType::Local,
    ];
    for attribute in session.get_attributes(handle, &wanted)? {
        key.read_attribute(attribute);
    }
    if (key.modulus.is_empty() || key.exponent.is_empty()) && !key.id.is_empty() {
        let template = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Token(true),
            Attribute::Id(key.id.clone()),
        ];
        if let [public] = session.find_objects(&template)?[..] {
            for attribute in session.get_attributes(public, &[AttributeType::Modulus, AttributeType::PublicExponent])? {
                key.read_attribute(attribute);
            }
        }
    }
    Ok(key.whole())
}

#[derive(Default)]
struct PrivateKeyParts {
    label: String,
    id: Vec<u8>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    sensitive: bool,
    extractable: bool,
    never_extractable: bool,
    local: bool,
}

impl PrivateKeyParts {
    fn read_attribute(&mut self, attribute: Attribute) {
        match attribute {
            Attribute::Label(label) => self.label = String::from_utf8_lossy(&label).into_owned(),
            Attribute::Id(id) => self.id = id,
            Attribute::Modulus(modulus) => self.modulus = modulus,
            Attribute::PublicExponent(exponent) => self.exponent = exponent,
            Attribute::Sensitive(yes) => self.sensitive = yes,
            Attribute::Extractable(yes) => self.extractable = yes,
            Attribute::NeverExtractable(yes) => self.never_extractable = yes,
            Attribute::Local(yes) => self.local = yes,
            _ => {}
        }
    }

    fn whole(self) -> Option<PrivateKey> {
        if self.modulus.is_empty() || self.exponent.is_empty() {
            return None;
        }
        let public = public_key(&self.modulus, &self.exponent).ok()?;
        Some(PrivateKey {
            spki_der: public.public_key_to_der().ok()?,
            label: self.label,
            id: self.id,
            public,
            sensitive: self.sensitive,
            extractable: self.extractable,
            never_extractable: self.never_extractable,
            local: self.local,
        })
    }
}

fn public_key(modulus: &[u8], exponent: &[u8]) -> Result<PKey<Public>, ErrorStack> {
    PKey::from_rsa(Rsa::from_public_components(BigNum::from_slice(modulus)?, BigNum::from_slice(exponent)?)?)
}
