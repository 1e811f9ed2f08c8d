//! Lists the keys that a token holds.

use super::{objects, rv::translate, token::Token};
use crate::{
    KeystoreError, TokenAccess,
    key::{OtherKey, TokenContents},
};

/// Returns all keys of the token; keys other than RSA keys by label and type only. An RSA key whose public half cannot be
/// determined is omitted with a warning.
///
/// # Errors
/// Errors of finding the token and of the login.
pub fn contents(access: &TokenAccess) -> Result<TokenContents, KeystoreError> {
    let token = Token::find(access)?;
    let session = token.session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    let mut keys = Vec::new();
    for handle in objects::private_keys(&session, None, None).map_err(|error| translate(&error))? {
        match objects::describe(&session, handle, token.uri()).map_err(|error| translate(&error))? {
            Some(key) => keys.push(key.description),
            None => tracing::warn!("a private key of the token is left out: its public half cannot be known"),
        }
    }
    keys.sort_by(|a, b| (&a.label, &a.cka_id).cmp(&(&b.label, &b.cka_id)));
    let others = objects::others(&session, None).map_err(|error| translate(&error))?;
    let others = others.into_iter().map(|(label, kind)| OtherKey { label, kind }).collect();
    Ok(TokenContents { keys, others })
}
