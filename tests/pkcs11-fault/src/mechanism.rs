//! The mechanism of a call, as far as rules name it.

#![expect(unsafe_code, reason = "reads a caller's mechanism")]

use std::any::TypeId;

use cryptoki_sys::{CK_MECHANISM, CK_MECHANISM_TYPE, CK_RSA_PKCS_PSS_PARAMS, CKM_RSA_PKCS_PSS};

macro_rules! mechanisms {
    ($($name:ident)*) => {
        const MECHANISMS: &[(&str, CK_MECHANISM_TYPE)] = &[$((stringify!($name), cryptoki_sys::$name)),*];
    };
}

mechanisms! {
    CKM_RSA_PKCS_KEY_PAIR_GEN CKM_RSA_PKCS CKM_RSA_X_509 CKM_RSA_PKCS_OAEP CKM_RSA_PKCS_PSS CKM_EC_KEY_PAIR_GEN CKM_ECDSA
    CKM_EC_EDWARDS_KEY_PAIR_GEN CKM_EDDSA
}

/// The mechanism that a caller names.
#[derive(Clone, Copy)]
pub(crate) struct Mechanism {
    number: CK_MECHANISM_TYPE,
    /// In bytes, of `CKM_RSA_PKCS_PSS`.
    salt: Option<u64>,
}

/// What a rule demands of a call's mechanism.
#[derive(Clone, Copy)]
pub(crate) struct Condition(Mechanism);

impl Condition {
    /// Parses `CKM_RSA_PKCS_PSS` or `CKM_RSA_PKCS_PSS,190`.
    pub(crate) fn parse(text: &str) -> Option<Condition> {
        let (name, salt) = match text.split_once(',') {
            None => (text, None),
            Some((name, salt)) => (name, Some(salt.parse().ok()?)),
        };
        let (_, number) = MECHANISMS.iter().find(|(known, _)| *known == name)?;
        Some(Condition(Mechanism { number: *number, salt }))
    }

    pub(crate) fn includes(self, mechanism: Mechanism) -> bool {
        let Condition(wanted) = self;
        wanted.number == mechanism.number && (wanted.salt.is_none() || wanted.salt == mechanism.salt)
    }
}

/// Returns the mechanism that an argument points to; `None` for an argument of another type.
pub(crate) fn mechanism_of<T: 'static>(argument: &T) -> Option<Mechanism> {
    if TypeId::of::<T>() != TypeId::of::<*mut CK_MECHANISM>() {
        return None;
    }
    // SAFETY: the argument is such a pointer, and the caller's pointers are null or valid; PSS has parameters of this type.
    unsafe {
        let named = (*std::ptr::from_ref(argument).cast::<*mut CK_MECHANISM>()).as_ref()?;
        let parameters = named.pParameter.cast::<CK_RSA_PKCS_PSS_PARAMS>();
        let has_salt = named.mechanism == CKM_RSA_PKCS_PSS
            && named.ulParameterLen as usize == size_of::<CK_RSA_PKCS_PSS_PARAMS>()
            && !parameters.is_null();
        let salt = has_salt.then(|| parameters.read_unaligned().sLen);
        Some(Mechanism { number: named.mechanism, salt })
    }
}
