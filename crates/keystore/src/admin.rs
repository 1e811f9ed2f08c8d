//! Creates tokens and keys, and lists what a token holds. All calls block, open the module for themselves and close it again.

pub use crate::{
    key::{GeneratedKey, OtherKey, TokenContents},
    pkcs11::{contents, generate_key, init_token, set_user_pin},
};
