//! Lists the keys that a token holds.

use super::{
    objects::{self, Described},
    rv::translate,
    token::Token,
};
use crate::{
    KeystoreError, TokenAccess,
    key::{OtherKey, TokenContents},
};

/// Returns all keys of the token; those of no [`KeyType`](crate::KeyType) by label and type only. A key whose public half cannot be
/// determined is omitted with a warning.
///
/// # Errors
/// Errors of finding the token and of the login.
pub fn contents(access: &TokenAccess) -> Result<TokenContents, KeystoreError> {
    let token = Token::find(access)?;
    let session = token.session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for found in objects::private_keys(&session, None, None).map_err(|error| translate(&error))? {
        match objects::describe(&session, found, token.uri()).map_err(|error| translate(&error))? {
            Described::Key(key) => keys.push(key.description),
            Described::Other(key) => others.push(key),
            Described::WithoutPublicHalf => {
                tracing::warn!("a private key of the token is left out: its public half cannot be known")
            }
        }
    }
    keys.sort_by(|a, b| (&a.label, &a.cka_id).cmp(&(&b.label, &b.cka_id)));
    let unusable = objects::others(&session, None).map_err(|error| translate(&error))?;
    others.extend(unusable.into_iter().map(|(label, kind)| OtherKey { label, kind }));
    others.sort_by(|a, b| (&a.label, &a.kind).cmp(&(&b.label, &b.kind)));
    Ok(TokenContents { keys, others })
}
