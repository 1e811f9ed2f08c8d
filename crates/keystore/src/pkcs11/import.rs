//! Puts a key from a file into a token.

use cryptoki::{
    error::Error,
    object::{Attribute, KeyType as ObjectKeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use openssl::{bn::BigNumRef, rand::rand_bytes};

use super::{
    generate::private_half,
    objects::{self, Described, Found},
    rv::{RvClass, classify, translate},
    token::Token,
};
use crate::{KeyType, KeyUsage, KeystoreError, TokenAccess, key::GeneratedKey, label::check_key, software::FileKey};

/// Puts an RSA key into the token (`C_CreateObject`, PKCS#11 v2.40 §5.7): sensitive, not extractable, restricted as a generated key. The
/// token knows that it was not generated there (`CKA_LOCAL`, `CKA_NEVER_EXTRACTABLE`). Of a key that the token does not show with the
/// same public half, nothing remains.
///
/// # Errors
/// [`KeystoreError::LabelExists`], [`KeystoreError::KeySize`] below 2048 or above 8192 bits, [`KeystoreError::Label`],
/// [`KeystoreError::KeyTypeUnfit`], errors of the login, and [`KeystoreError::Fault`] if the token refuses keys from outside.
pub fn import_key(access: &TokenAccess, label: &str, usage: KeyUsage, key: &FileKey) -> Result<GeneratedKey, KeystoreError> {
    check_key(label)?;
    let bits = key.bits();
    if !(2048..=8192).contains(&bits) {
        return Err(KeystoreError::KeySize { bits });
    }
    if !usage.suits(KeyType::Rsa) {
        return Err(KeystoreError::KeyTypeUnfit { key_type: KeyType::Rsa });
    }
    let token = Token::find(access)?;
    let session = token.writable_session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    if objects::label_is_taken(&session, label).map_err(|error| translate(&error))? {
        return Err(KeystoreError::LabelExists { label: label.to_owned() });
    }
    let mut id = [0; 16];
    rand_bytes(&mut id).map_err(|_| fault("random bytes"))?;
    let (private, public, mechanisms_restricted) = create(&token, &session, label, &id, usage, key)?;
    described(&session, &token, label, private, key)
        .map(|description| GeneratedKey { description, mechanisms_restricted })
        .inspect_err(|_| {
            let _ = session.destroy_object(private);
            let _ = session.destroy_object(public);
        })
}

fn fault(operation: &str) -> KeystoreError {
    KeystoreError::Fault { operation: operation.to_owned(), code: "OpenSSL".to_owned() }
}

/// Reads the new key back, and compares its public half with the file's.
fn described(
    session: &Session,
    token: &Token,
    label: &str,
    handle: ObjectHandle,
    key: &FileKey,
) -> Result<crate::KeyDescription, KeystoreError> {
    let found = Found { handle, family: KeyType::Rsa.into() };
    let Described::Key(made) = objects::describe(session, found, token.uri()).map_err(|error| translate(&error))? else {
        return Err(KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" });
    };
    if key.spki_der().map_err(|_| fault("the file's key"))? != made.description.spki_der {
        return Err(KeystoreError::KeyUnusable {
            label: label.to_owned(),
            reason: "the token shows another key than the file's",
        });
    }
    Ok(made.description)
}

/// Creates both halves. Tokens that do not restrict mechanisms refuse the attribute; then they are created without it.
fn create(
    token: &Token,
    session: &Session,
    label: &str,
    id: &[u8],
    usage: KeyUsage,
    key: &FileKey,
) -> Result<(ObjectHandle, ObjectHandle, bool), KeystoreError> {
    let rsa = key.rsa().map_err(|_| fault("the file's key"))?;
    let common = [
        Attribute::Token(true),
        Attribute::KeyType(ObjectKeyType::RSA),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
        Attribute::Modulus(rsa.n().to_vec()),
        Attribute::PublicExponent(rsa.e().to_vec()),
    ];
    let number = |number: Option<&BigNumRef>| number.map(BigNumRef::to_vec).ok_or_else(|| fault("the file's key"));
    let secret = [
        Attribute::PrivateExponent(rsa.d().to_vec()),
        Attribute::Prime1(number(rsa.p())?),
        Attribute::Prime2(number(rsa.q())?),
        Attribute::Exponent1(number(rsa.dmp1())?),
        Attribute::Exponent2(number(rsa.dmq1())?),
        Attribute::Coefficient(number(rsa.iqmp())?),
    ];
    let private = |session: &Session, restricts: bool| -> Result<ObjectHandle, Error> {
        let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
        template.extend_from_slice(&common);
        template.extend(private_half(usage, KeyType::Rsa, restricts));
        template.extend_from_slice(&secret);
        session.create_object(&template)
    };
    let (handle, restricted) = match private(session, true) {
        Ok(handle) => (handle, true),
        Err(error) if matches!(classify(&error), RvClass::Other | RvClass::Refused) => {
            let fresh = token.writable_session().map_err(|error| translate(&error))?;
            (private(&fresh, false).map_err(|error| translate(&error))?, false)
        }
        Err(error) => return Err(translate(&error)),
    };
    let mut public = vec![Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Private(false)];
    public.extend_from_slice(&common);
    public.extend([Attribute::Verify(true), Attribute::Encrypt(true), Attribute::Wrap(false)]);
    match session.create_object(&public) {
        Ok(public) => Ok((handle, public, restricted)),
        Err(error) => {
            // No half of a key remains.
            let _ = session.destroy_object(handle);
            Err(translate(&error))
        }
    }
}
