//! Lists the keys that a token holds.

use super::{objects, rv::translate, token::Token};
use crate::{
    KeystoreError, TokenAccess,
    key::{OtherKey, TokenContents, TokenKey},
};

pub(crate) fn contents(access: &TokenAccess) -> Result<TokenContents, KeystoreError> {
    let token = Token::find(access)?;
    let session = token.session().map_err(|error| translate(&error))?;
    token.login(&session)?;
    let mut keys = Vec::new();
    for handle in objects::private_keys(&session, None).map_err(|error| translate(&error))? {
        match objects::describe(&session, handle).map_err(|error| translate(&error))? {
            Some(key) => keys.push(TokenKey {
                bits: key.public.bits(),
                label: key.label,
                id: key.id,
                spki_der: key.spki_der,
                sensitive: key.sensitive,
                extractable: key.extractable,
                never_extractable: key.never_extractable,
                generated_in_token: key.local,
            }),
            None => tracing::warn!("a private key of the token is left out: its public half cannot be known"),
        }
    }
    keys.sort_by(|a, b| (&a.label, &a.id).cmp(&(&b.label, &b.id)));
    let others = objects::others(&session, None).map_err(|error| translate(&error))?;
    let others = others.into_iter().map(|(label, kind)| OtherKey { label, kind }).collect();
    Ok(TokenContents { keys, others })
}
