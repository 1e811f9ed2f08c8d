//! Reports what a token and its module say of themselves.

use cryptoki::{
    context::Pkcs11,
    mechanism::{MechanismInfo, MechanismType},
    slot::{Limit, Slot, TokenInfo},
};

use super::{
    module::ModuleUse,
    quirks::Quirk,
    rv::translate,
    token::{Token, locate, tokens, uri_of},
};
use crate::{
    KeystoreError, ModuleConfig, TokenAccess, TokenSelector,
    token_report::{FreeMemory, MechanismEntry, MechanismReport, SessionLimit, SlotReport, TokenReport, VendorReport},
};

/// The mechanisms that schemes and the generation of keys use.
const OF_INTEREST: [(&str, MechanismType); 9] = [
    ("CKM_RSA_PKCS_PSS", MechanismType::RSA_PKCS_PSS),
    ("CKM_RSA_PKCS", MechanismType::RSA_PKCS),
    ("CKM_RSA_PKCS_OAEP", MechanismType::RSA_PKCS_OAEP),
    ("CKM_RSA_X_509", MechanismType::RSA_X_509),
    ("CKM_ECDSA", MechanismType::ECDSA),
    ("CKM_EDDSA", MechanismType::EDDSA),
    ("CKM_RSA_PKCS_KEY_PAIR_GEN", MechanismType::RSA_PKCS_KEY_PAIR_GEN),
    ("CKM_EC_KEY_PAIR_GEN", MechanismType::ECC_KEY_PAIR_GEN),
    ("CKM_EC_EDWARDS_KEY_PAIR_GEN", MechanismType::ECC_EDWARDS_KEY_PAIR_GEN),
];

/// Returns what the selected token and its module say of themselves. Opens no session, and makes no login.
///
/// # Errors
/// Errors of loading the module and of finding the token.
pub fn token_report(module: &ModuleConfig, selector: &TokenSelector) -> Result<TokenReport, KeystoreError> {
    let module = ModuleUse::acquire(module)?;
    let context = module.context();
    let (slot, info) = locate(&module, selector)?;
    let library = context.get_library_info().map_err(|error| translate(&error))?;
    let quirk = Quirk::of(&info, Some(&library));
    Ok(TokenReport {
        uri: uri_of(&info),
        library: library.library_description().to_owned(),
        library_manufacturer: library.manufacturer_id().to_owned(),
        library_version: library.library_version().to_string(),
        pkcs11_version: library.cryptoki_version().to_string(),
        flags: flags(&info),
        sessions_open: info.session_count(),
        sessions_max: match info.max_session_count() {
            Limit::Max(number) => SessionLimit::AtMost(number),
            Limit::Infinite => SessionLimit::Unlimited,
            Limit::Unavailable => SessionLimit::Unknown,
        },
        mechanisms: mechanisms(context, slot)?,
        vendor: (!quirk.name.is_empty()).then_some(VendorReport { name: quirk.name, notes: quirk.notes }),
    })
}

/// Returns the tokens of all slots, whether initialised or not, by slot. Opens no session, and makes no login.
///
/// # Errors
/// Errors of loading the module. A token that cannot be read is left out with a warning.
pub fn list_tokens(module: &ModuleConfig) -> Result<Vec<SlotReport>, KeystoreError> {
    let module = ModuleUse::acquire(module)?;
    let bytes = |memory: Option<usize>| memory.map(|bytes| bytes as u64);
    let mut found: Vec<_> = tokens(&module)?
        .iter()
        .map(|(slot, info)| SlotReport {
            slot: slot.id(),
            uri: uri_of(info),
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
            model: info.model().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            flags: flags(info),
            free: FreeMemory { public: bytes(info.free_public_memory()), private: bytes(info.free_private_memory()) },
            pin_length: (info.min_pin_length(), info.max_pin_length()),
        })
        .collect();
    found.sort_by_key(|report| report.slot);
    Ok(found)
}

/// Checks whether a login with this PIN would be tried now, by the token's flags and the PINs that it refused before. Makes no login.
///
/// # Errors
/// Errors of finding the token, and those with which the login would be refused before it is tried: [`KeystoreError::PinNotSet`],
/// [`KeystoreError::PinLatched`], [`KeystoreError::PinAtRisk`], [`KeystoreError::LatchUnusable`], [`KeystoreError::Unavailable`] when the
/// PIN cannot be read.
pub fn check_login(access: &TokenAccess) -> Result<(), KeystoreError> {
    Token::find(access)?.check_login()
}

fn flags(info: &TokenInfo) -> std::collections::BTreeMap<&'static str, bool> {
    [
        ("initialised", info.token_initialized()),
        ("login_required", info.login_required()),
        ("protected_authentication_path", info.protected_authentication_path()),
        ("write_protected", info.write_protected()),
        ("error_state", info.error_state()),
        ("user_pin_set", info.user_pin_initialized()),
        ("user_pin_count_low", info.user_pin_count_low()),
        ("user_pin_final_try", info.user_pin_final_try()),
        ("user_pin_locked", info.user_pin_locked()),
        ("user_pin_to_be_changed", info.user_pin_to_be_changed()),
        ("so_pin_count_low", info.so_pin_count_low()),
        ("so_pin_final_try", info.so_pin_final_try()),
        ("so_pin_locked", info.so_pin_locked()),
    ]
    .into()
}

fn mechanisms(context: &Pkcs11, slot: Slot) -> Result<Vec<MechanismReport>, KeystoreError> {
    let listed = context.get_mechanism_list(slot).map_err(|error| translate(&error))?;
    let entry = |mechanism| {
        // A token that lists a mechanism and then does not describe it may still have it.
        let info = listed.contains(&mechanism).then(|| context.get_mechanism_info(slot, mechanism));
        info.map(|info| info.map_or_else(|_| MechanismEntry { min_key_size: 0, max_key_size: 0, uses: Vec::new() }, described))
    };
    Ok(OF_INTEREST.into_iter().map(|(name, mechanism)| MechanismReport { name, listed: entry(mechanism) }).collect())
}

fn described(info: MechanismInfo) -> MechanismEntry {
    let uses = [("sign", info.sign()), ("decrypt", info.decrypt()), ("generate", info.generate_key_pair())];
    MechanismEntry {
        min_key_size: info.min_key_size(),
        max_key_size: info.max_key_size(),
        uses: uses.into_iter().filter_map(|(name, is_so)| is_so.then_some(name)).collect(),
    }
}
