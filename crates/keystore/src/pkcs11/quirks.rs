//! What tokens of one vendor do in another way than the standard or other tokens: one row each.
//!
//! A row is chosen by what the token and its module say of themselves. What a trial operation shows is not repeated here: a row says
//! what a trial cannot show, or why it shows what it does.

use cryptoki::{
    context::{Function, Info},
    error::{Error, RvError},
    slot::TokenInfo,
};

/// The differences of one vendor's tokens.
#[derive(Debug)]
pub(crate) struct Quirk {
    /// The vendor's name of the software or device.
    pub(crate) name: &'static str,
    /// Beginnings of the texts by which the row is chosen; all that are given must match.
    pattern: Pattern,
    /// Return values of `C_SignInit` and `C_DecryptInit` that mean that the token does not support what was asked. Elsewhere they mean
    /// a defect of the call.
    refusals: &'static [RvError],
    /// The return value for a supported use of a key while another thread of the process logs in.
    pub(crate) refusal_during_login: Option<RvError>,
    /// Whether `CKA_LOCAL` is false of every key, also of those that were generated in the token.
    pub(crate) hides_origin: bool,
    /// What an administrator should know, as sentences.
    pub(crate) notes: &'static [&'static str],
}

/// Beginnings of texts in `CK_TOKEN_INFO` and `CK_INFO`.
#[derive(Debug)]
struct Pattern {
    /// The token's manufacturer.
    manufacturer: &'static str,
    /// The token's model.
    model: &'static str,
    /// The module's description.
    library: &'static str,
}

/// No differences: for tokens without a row, and for the rest of a row.
const PLAIN: Quirk = Quirk {
    name: "",
    pattern: Pattern { manufacturer: "", model: "", library: "" },
    refusals: &[],
    refusal_during_login: None,
    hides_origin: false,
    notes: &[],
};

static NONE: Quirk = PLAIN;

static TABLE: [Quirk; 5] = [
    Quirk {
        name: "SoftHSM",
        pattern: Pattern { manufacturer: "SoftHSM project", model: "SoftHSM v2", library: "" },
        refusals: &[RvError::ArgumentsBad],
        notes: &[
            "It lists CKM_RSA_PKCS_OAEP, but has it with SHA-1 only, and refuses other hashes with CKR_ARGUMENTS_BAD.",
            "It never locks a PIN: after wrong ones it only reports that the count is low.",
        ],
        ..PLAIN
    },
    Quirk {
        name: "NSS softokn",
        pattern: Pattern { manufacturer: "Mozilla Foundation", model: "NSS", library: "" },
        // Until the login is complete, the key's attributes cannot be read.
        refusal_during_login: Some(RvError::KeyTypeInconsistent),
        hides_origin: true,
        notes: &[
            "CKA_LOCAL is false of every key, so it does not show which keys were generated in the token.",
            "It answers CKR_KEY_TYPE_INCONSISTENT to the use of a key while another thread logs in.",
            "It has no CKA_ALLOWED_MECHANISMS, so only the service restricts a key to its purpose.",
        ],
        ..PLAIN
    },
    Quirk {
        name: "tpm2-pkcs11",
        // The token's manufacturer is the TPM's.
        pattern: Pattern { manufacturer: "", model: "", library: "TPM2.0 Cryptoki" },
        notes: &["A TPM takes a PSS salt only as long as the digest: trains need `allow_raw_sign` in [token]."],
        ..PLAIN
    },
    Quirk {
        name: "Kryoptic",
        pattern: Pattern { manufacturer: "Kryoptic", model: "", library: "" },
        refusal_during_login: Some(RvError::GeneralError),
        notes: &[
            "It may deadlock when a session logs in while another one signs: use `sessions = 1` or `isolation = \"process\"` in [token].",
        ],
        ..PLAIN
    },
    Quirk {
        name: "openCryptoki",
        pattern: Pattern { manufacturer: "", model: "", library: "Meta PKCS11 LIBRARY" },
        notes: &[
            "Both PINs have to be changed after they were set: use pkcsconf.",
            "It has no CKA_ALLOWED_MECHANISMS, so only the service restricts a key to its purpose.",
        ],
        ..PLAIN
    },
];

impl Quirk {
    /// Returns the row of a token; one without differences for a token that has none.
    pub(super) fn of(token: &TokenInfo, module: Option<&Info>) -> &'static Quirk {
        find(token.manufacturer_id(), token.model(), module.map_or("", Info::library_description))
    }

    /// Returns whether the error means that the token does not support what was asked.
    pub(super) fn is_refusal(&self, error: &Error) -> bool {
        matches!(error, Error::Pkcs11(value, Function::SignInit | Function::DecryptInit) if self.refusals.contains(value))
    }

    /// Returns whether the token may do, a moment later, what it now refuses.
    pub(super) fn may_be_passing(&self, error: &Error) -> bool {
        matches!(error, Error::Pkcs11(value, _) if self.refusal_during_login == Some(*value))
    }
}

fn find(manufacturer: &str, model: &str, library: &str) -> &'static Quirk {
    let matches = |Pattern { manufacturer: m, model: o, library: l }: &Pattern| {
        manufacturer.starts_with(m) && model.starts_with(o) && library.starts_with(l)
    };
    TABLE.iter().find(|row| matches(&row.pattern)).unwrap_or(&NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_row_of_its_vendor_and_an_unknown_one_has_none() {
        assert_eq!(find("SoftHSM project", "SoftHSM v2", "Implementation of PKCS11").name, "SoftHSM");
        assert_eq!(find("Mozilla Foundation", "NSS 3", "NSS Internal Crypto Services").name, "NSS softokn");
        assert_eq!(find("IBM", "SW   TPM", "TPM2.0 Cryptoki").name, "tpm2-pkcs11");
        assert_eq!(find("Kryoptic Project", "v1", "Kryoptic PKCS11 Module").name, "Kryoptic");
        assert_eq!(find("IBM Corp.", "IBM SoftTok", "Meta PKCS11 LIBRARY").name, "openCryptoki");
        assert_eq!(find("Yubico", "YubiHSM", "").name, "");
        assert_eq!(find("", "", "").name, "");
    }

    #[test]
    fn every_row_says_what_differs() {
        for row in &TABLE {
            assert!(!row.name.is_empty() && !row.notes.is_empty(), "{row:?}");
            let Pattern { manufacturer, model, library } = row.pattern;
            assert!(!(manufacturer.is_empty() && model.is_empty() && library.is_empty()), "{row:?}");
        }
    }

    #[test]
    fn bad_arguments_are_a_refusal_of_softhsm_at_the_begin_of_an_operation_only() {
        let softhsm = find("SoftHSM project", "SoftHSM v2", "");
        let error = |function| Error::Pkcs11(RvError::ArgumentsBad, function);
        assert!(softhsm.is_refusal(&error(Function::DecryptInit)) && !softhsm.is_refusal(&error(Function::Decrypt)));
        assert!(!NONE.is_refusal(&error(Function::DecryptInit)));
    }
}
