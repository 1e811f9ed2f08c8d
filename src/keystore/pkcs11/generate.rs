//! Making tokens and key pairs.

use std::collections::BTreeMap;
use std::path::Path;

use cryptoki::error::Error;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use openssl::rand::rand_bytes;
use secrecy::SecretString;

use super::fault::{Fault, classify, translate};
use super::module::ModuleUse;
use super::objects;
use super::token::{Token, tokens};
use crate::keystore::admin::GeneratedKey;
use crate::keystore::{KeystoreError, Purpose, TokenAccess};

/// `CK_TOKEN_INFO.label`.
const TOKEN_LABEL_MAX: usize = 32;
/// Ours; the standard sets none.
const KEY_LABEL_MAX: usize = 255;

pub(in crate::keystore) fn init_token(
    module: &Path,
    label: &str,
    so_pin: &SecretString,
    user_pin: &SecretString,
) -> Result<String, KeystoreError> {
    within(label, TOKEN_LABEL_MAX)?;
    let module = ModuleUse::acquire(module)?;
    let context = module.context();
    let before = tokens(context)?;
    if before.iter().any(|(_, info)| info.token_initialized() && info.label() == label) {
        return Err(KeystoreError::TokenExists { label: label.to_owned() });
    }
    let (slot, _) = before.into_iter().find(|(_, info)| !info.token_initialized()).ok_or(KeystoreError::NoFreeSlot)?;
    let done = || -> Result<String, Error> {
        context.init_token(slot, so_pin, label)?;
        let session = context.open_rw_session(slot)?;
        session.login(UserType::So, Some(so_pin))?;
        session.init_pin(user_pin)?;
        session.close()?;
        Ok(context.get_token_info(slot)?.serial_number().to_owned())
    };
    done().map_err(|error| translate(&error))
}

pub(in crate::keystore) fn generate_key(
    access: &TokenAccess,
    label: &str,
    purpose: Purpose,
    bits: u32,
) -> Result<GeneratedKey, KeystoreError> {
    within(label, KEY_LABEL_MAX)?;
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

    let (handle, mechanisms_restricted) = match generate(&session, label, &id, bits, Some(purpose)) {
        Ok(handle) => (handle, true),
        // A token that does not know the attribute says so in one of many ways; a real fault shows again without it.
        Err(error) if matches!(classify(&error), Fault::Other | Fault::Refused) => {
            // The session may be in the middle of the failed call: go on in another (this one still holds the login).
            let fresh = token.writable_session().map_err(|error| translate(&error))?;
            let handle = generate(&fresh, label, &id, bits, None).map_err(|error| translate(&error))?;
            (handle, false)
        }
        Err(error) => return Err(translate(&error)),
    };
    let key = objects::describe(&session, handle).map_err(|error| translate(&error))?.ok_or_else(|| {
        KeystoreError::KeyUnusable { label: label.to_owned(), reason: "the token does not show its public half" }
    })?;
    Ok(GeneratedKey { info: key.info(purpose, BTreeMap::new()), mechanisms_restricted })
}

fn generate(session: &Session, label: &str, id: &[u8], bits: u32, restrict: Option<Purpose>) -> Result<ObjectHandle, Error> {
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
    let opens = restrict != Some(Purpose::Audit);
    let mut private = common.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(opens),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    private.extend(restrict.map(|purpose| Attribute::AllowedMechanisms(mechanisms(purpose))));
    let (_, handle) = session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?;
    Ok(handle)
}

/// Raw RSA is among them: without it a token that lacks OAEP with SHA-512 could not open a train. It is a signing oracle in
/// the hands of whoever has the PIN, which is why its output stays in this module.
fn mechanisms(purpose: Purpose) -> Vec<MechanismType> {
    if purpose == Purpose::Audit {
        return vec![MechanismType::RSA_PKCS_PSS, MechanismType::SHA256_RSA_PKCS_PSS];
    }
    let mut allowed = vec![
        MechanismType::RSA_PKCS_PSS,
        MechanismType::SHA512_RSA_PKCS_PSS,
        MechanismType::RSA_PKCS_OAEP,
        MechanismType::RSA_X_509,
    ];
    if purpose == Purpose::General {
        allowed.extend([MechanismType::RSA_PKCS, MechanismType::SHA256_RSA_PKCS_PSS, MechanismType::SHA384_RSA_PKCS_PSS]);
    }
    allowed
}

fn within(label: &str, max: usize) -> Result<(), KeystoreError> {
    if label.is_empty() || label.len() > max { Err(KeystoreError::LabelLength { max }) } else { Ok(()) }
}
