//! Creates tokens and keys, destroys keys, lists what a token holds, and reports what it says of itself. All calls block, open the module for themselves and close it again.

pub use crate::{
    key::{DestroyedKey, GeneratedKey, KeyObjects, OtherKey, TokenContents},
    pkcs11::{
        change_user_pin, check_login, contents, destroy_key, generate_key, import_key, init_token, key_objects, list_tokens,
        set_user_pin, token_report, try_module,
    },
    token_report::{FreeMemory, MechanismEntry, MechanismReport, SessionLimit, SlotReport, TokenReport, VendorReport},
};
