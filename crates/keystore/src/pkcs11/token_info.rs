//! Reads a token's description (`CK_TOKEN_INFO`), with or without a clock that can be read.

use std::{path::Path, ptr::null_mut};

use cryptoki::{
    error::Error,
    slot::{Slot, TokenInfo},
};
use cryptoki_sys::{CK_TOKEN_INFO, CKF_CLOCK_ON_TOKEN, CKR_OK};

use super::module::ModuleUse;

/// Returns the description of the token in a slot. The tokens of openCryptoki tell the time in a format of their own, for which the wrapper
/// refuses the whole description: it is then read without the time, which nothing here needs.
pub(super) fn token_info(module: &ModuleUse, slot: Slot) -> Result<TokenInfo, Error> {
    match module.context().get_token_info(slot) {
        Ok(info) => Ok(info),
        Err(error @ Error::Pkcs11(..)) => Err(error),
        Err(error) => without_time(module.path(), slot).unwrap_or(Err(error)),
    }
}

/// Returns `None` if the module cannot be asked past the wrapper.
#[expect(unsafe_code, reason = "calls a function of the module without the wrapper")]
fn without_time(module: &Path, slot: Slot) -> Option<Result<TokenInfo, Error>> {
    // SAFETY: the module is loaded already, so this runs none of its initialisers.
    let library = unsafe { cryptoki_sys::Pkcs11::new(module) }.ok()?;
    let get_list = *library.C_GetFunctionList.as_ref().ok()?;
    let mut list = null_mut();
    // SAFETY: a module writes a pointer to its list there (PKCS#11 v2.40 §5.4), which lives as long as the module.
    if unsafe { get_list(&raw mut list) } != CKR_OK {
        return None;
    }
    // SAFETY: the pointer is null or the module's.
    let functions = unsafe { list.as_ref() }?;
    let mut info = CK_TOKEN_INFO::default();
    // SAFETY: the module fills in the structure (PKCS#11 v2.40 §5.5) and keeps no pointer to it.
    if unsafe { functions.C_GetTokenInfo?(slot.into(), &raw mut info) } != CKR_OK {
        return None;
    }
    info.flags &= !CKF_CLOCK_ON_TOKEN;
    Some(TokenInfo::try_from(info))
}
