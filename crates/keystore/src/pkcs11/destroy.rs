//! Destroys a key with the objects that belong to it.

use cryptoki::{
    error::Error,
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::Session,
};
use openssl::x509::X509;

use super::{
    objects::{self, Described, Found},
    public_half::{self, PublicHalf},
    rv::translate,
    token::Token,
};
use crate::{
    KeyDescription, KeyId, KeystoreError, TokenAccess,
    key::{DestroyedKey, KeyObjects},
};

/// The objects of one key, by their handles in one session.
struct Objects {
    private: Found,
    description: KeyDescription,
    public: Vec<ObjectHandle>,
    certificates: Vec<ObjectHandle>,
}

/// Returns the only key with this label and counts the objects that [`destroy_key`] would destroy. Changes nothing.
///
/// # Errors
/// [`KeystoreError::KeyNotFound`], [`KeystoreError::KeyOfOtherType`], [`KeystoreError::KeyAmbiguous`],
/// [`KeystoreError::KeyUnusable`] if the token does not show the public half, and errors of the login.
pub fn key_objects(access: &TokenAccess, label: &str) -> Result<KeyObjects, KeystoreError> {
    let token = Token::find(access)?;
    let session = token.session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    let found = find(&session, &token, label)?;
    Ok(KeyObjects { description: found.description, public: found.public.len(), certificates: found.certificates.len() })
}

/// Destroys the private key with this label and identity, then its public key and its certificates (`C_DestroyObject`, PKCS#11 v2.40
/// §5.7). A public key or certificate belongs to it if it has the same `CKA_ID` and contains the same public key. They stay if another
/// private key in the token has this `CKA_ID`.
///
/// # Errors
/// Those of [`key_objects`]; [`KeystoreError::KeyNotFound`] also if another key has the label now. [`KeystoreError::Fault`] if the token
/// refuses: then the private key is still there, and nothing was destroyed.
pub fn destroy_key(access: &TokenAccess, label: &str, id: KeyId) -> Result<DestroyedKey, KeystoreError> {
    let token = Token::find(access)?;
    let session = token.writable_session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    let found = find(&session, &token, label)?;
    if found.description.id != id {
        return Err(super::not_found(label));
    }
    session.destroy_object(found.private.handle).map_err(|error| translate(&error))?;
    let cka_id = &found.description.cka_id;
    let left = objects::private_keys_by_id(&session, found.private.family, label, cka_id).map_err(|error| translate(&error))?;
    if !left.is_empty() {
        return Err(KeystoreError::Fault {
            operation: "C_DestroyObject".to_owned(),
            code: "the token still has the private key".to_owned(),
        });
    }
    let destroy = |handles: &[ObjectHandle]| handles.iter().filter(|handle| session.destroy_object(**handle).is_ok()).count();
    let (public, certificates) = (destroy(&found.public), destroy(&found.certificates));
    Ok(DestroyedKey { public, certificates, left: found.public.len() + found.certificates.len() - public - certificates })
}

fn find(session: &Session, token: &Token, label: &str) -> Result<Objects, KeystoreError> {
    let all = objects::private_keys(session, Some(label), None).map_err(|error| translate(&error))?;
    let private = match all[..] {
        [private] => private,
        [] => {
            let other = objects::other_kind(session, label).map_err(|error| translate(&error))?;
            return Err(match other {
                Some(kind) => KeystoreError::KeyOfOtherType { label: label.to_owned(), kind },
                None => super::not_found(label),
            });
        }
        _ => return Err(KeystoreError::KeyAmbiguous { label: label.to_owned() }),
    };
    match objects::describe(session, private, token.uri()).map_err(|error| translate(&error))? {
        Described::Key(key) => companions(session, private, key.description).map_err(|error| translate(&error)),
        Described::Other(other) => Err(KeystoreError::KeyOfOtherType { label: label.to_owned(), kind: other.kind }),
        Described::WithoutPublicHalf => {
            Err(KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" })
        }
    }
}

/// Finds the public keys and certificates of a private key.
fn companions(session: &Session, private: Found, description: KeyDescription) -> Result<Objects, Error> {
    let id = description.cka_id.clone();
    let (mut public, mut certificates) = (Vec::new(), Vec::new());
    if !id.is_empty() && objects::private_keys(session, None, Some(&id))?.len() == 1 {
        let with_id = |class| [Attribute::Class(class), Attribute::Token(true), Attribute::Id(id.clone())];
        for handle in session.find_objects(&with_id(ObjectClass::PUBLIC_KEY))? {
            // An object of another type does not have the attributes.
            let half = session.get_attributes(handle, &private.family.public_attributes());
            let half = half.map(|attributes| public_half::read(private.family, &attributes));
            if matches!(half, Ok(PublicHalf::Key { spki_der, .. }) if spki_der == description.spki_der) {
                public.push(handle);
            }
        }
        for handle in session.find_objects(&with_id(ObjectClass::CERTIFICATE))? {
            if certified(session, handle)?.is_some_and(|spki_der| spki_der == description.spki_der) {
                certificates.push(handle);
            }
        }
    }
    Ok(Objects { private, description, public, certificates })
}

/// Returns the public key in a certificate, as SubjectPublicKeyInfo in DER.
fn certified(session: &Session, handle: ObjectHandle) -> Result<Option<Vec<u8>>, Error> {
    Ok(match &session.get_attributes(handle, &[AttributeType::Value])?[..] {
        [Attribute::Value(der)] => X509::from_der(der).and_then(|found| found.public_key()?.public_key_to_der()).ok(),
        _ => None,
    })
}
