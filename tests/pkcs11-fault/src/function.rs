//! The functions of PKCS#11 3.2 by number and name.

use cryptoki_sys::CK_FUNCTION_LIST_3_2;

use crate::forward::wrap;

macro_rules! functions {
    ($($name:ident)*) => {
        /// A function that is passed on. Its number is its place in the table of the real functions.
        #[expect(non_camel_case_types, clippy::enum_variant_names, reason = "the names of the standard")]
        #[derive(Clone, Copy)]
        pub(crate) enum Function {
            $($name),*
        }

        const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Number of functions.
        pub(crate) const COUNT: usize = NAMES.len();

        /// Replaces every function that the real module has.
        pub(crate) fn wrap_all(list: &mut CK_FUNCTION_LIST_3_2) {
            $(list.$name = list.$name.map(wrap::<_, { Function::$name as usize }>);)*
        }
    };
}

functions! {
    C_Initialize C_Finalize C_GetInfo C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList C_GetMechanismInfo
    C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo C_GetOperationState
    C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize C_GetAttributeValue
    C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal C_EncryptInit C_Encrypt C_EncryptUpdate
    C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest C_DigestUpdate C_DigestKey
    C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover C_VerifyInit C_Verify
    C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate C_DecryptDigestUpdate
    C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey C_DeriveKey C_SeedRandom
    C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent C_LoginUser C_SessionCancel C_MessageEncryptInit
    C_EncryptMessage C_EncryptMessageBegin C_EncryptMessageNext C_MessageEncryptFinal C_MessageDecryptInit C_DecryptMessage
    C_DecryptMessageBegin C_DecryptMessageNext C_MessageDecryptFinal C_MessageSignInit C_SignMessage C_SignMessageBegin
    C_SignMessageNext C_MessageSignFinal C_MessageVerifyInit C_VerifyMessage C_VerifyMessageBegin C_VerifyMessageNext
    C_MessageVerifyFinal C_EncapsulateKey C_DecapsulateKey C_VerifySignatureInit C_VerifySignature C_VerifySignatureUpdate
    C_VerifySignatureFinal C_GetSessionValidationFlags C_AsyncComplete C_AsyncGetID C_AsyncJoin C_WrapKeyAuthenticated
    C_UnwrapKeyAuthenticated
}

/// Returns a function's name in the standard.
pub(crate) fn name(number: usize) -> &'static str {
    NAMES[number]
}

/// Returns whether the standard has a function of this name.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}
