//! What a token and its module say of themselves, for administrators.

use std::collections::BTreeMap;

use crate::Pkcs11Uri;

/// What a token and its module say of themselves, without a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenReport {
    /// Names the token, and no key.
    pub uri: Pkcs11Uri,
    /// The module's description of itself.
    pub library: String,
    /// The module's manufacturer.
    pub library_manufacturer: String,
    /// The module's version: `2.6`.
    pub library_version: String,
    /// The version of PKCS#11 that the module has: `2.40`.
    pub pkcs11_version: String,
    /// Flags of `CK_TOKEN_INFO` by name: `user_pin_locked`.
    pub flags: BTreeMap<&'static str, bool>,
    /// Number of sessions of this process with the token; `None` if the token does not tell.
    pub sessions_open: Option<u64>,
    /// The maximum of that number.
    pub sessions_max: SessionLimit,
    /// The mechanisms that schemes of this service use.
    pub mechanisms: Vec<MechanismReport>,
    /// What is known of tokens of this vendor.
    pub vendor: Option<VendorReport>,
}

/// The token of a slot as it describes itself (`CK_TOKEN_INFO`), without a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotReport {
    /// The slot's number, which may change with every start of the module.
    pub slot: u64,
    /// Names the token, and no key.
    pub uri: Pkcs11Uri,
    /// The label; empty if the token is not initialised.
    pub label: String,
    /// The serial number.
    pub serial: String,
    /// The model.
    pub model: String,
    /// The manufacturer.
    pub manufacturer: String,
    /// Flags of `CK_TOKEN_INFO` by name: `user_pin_locked`.
    pub flags: BTreeMap<&'static str, bool>,
    /// The space for further objects.
    pub free: FreeMemory,
    /// Minimum and maximum length of a PIN, in bytes; a maximum of 0 is not reported.
    pub pin_length: (usize, usize),
}

/// The space for further objects in a token, in bytes; `None` if the token does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeMemory {
    /// For objects that anyone can read.
    pub public: Option<u64>,
    /// For private objects.
    pub private: Option<u64>,
}

/// The maximum number of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLimit {
    /// This number.
    AtMost(u64),
    /// The token has no maximum.
    Unlimited,
    /// The token does not tell.
    Unknown,
}

/// A mechanism as the token lists it. Tokens list mechanisms that they refuse; what works is found by trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MechanismReport {
    /// The name in the standard: `CKM_RSA_PKCS_PSS`.
    pub name: &'static str,
    /// The entry; `None` if the token does not list the mechanism.
    pub listed: Option<MechanismEntry>,
}

/// The entry of a mechanism in a token's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MechanismEntry {
    /// Minimum size of keys, mostly in bits.
    pub min_key_size: usize,
    /// Maximum size of keys, mostly in bits.
    pub max_key_size: usize,
    /// What the mechanism is for: `sign`, `decrypt`, `generate`.
    pub uses: Vec<&'static str>,
}

/// What is known of tokens of a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorReport {
    /// The vendor's name of the software or device.
    pub name: &'static str,
    /// What differs from other tokens, as sentences.
    pub notes: &'static [&'static str],
}
