//! NSS refuses a supported use of a key while another thread logs in: a trial must not remember that.

use super::*;

/// What NSS answers meanwhile.
const VALUE: &str = "CKR_KEY_TYPE_INCONSISTENT";

fn nss() -> FaultyToken {
    FaultyToken::over(TestToken::of(TokenKind::Nss).and_keys())
}

/// Opens the general key, and returns what the trial found.
fn found(token: &FaultyToken) -> std::collections::BTreeMap<&'static str, Capability> {
    let module = ModuleConfig { path: token.library.clone(), ..token.token.module_config() };
    let access = TokenAccess { module, ..token.token.access() };
    let config = KeystoreConfig { allow_raw_unwrap: false, ..token.token.config_with(access, &["general"]) };
    Keystore::open(config).unwrap().key("general").unwrap().capabilities
}

#[test]
fn a_refusal_that_passes_is_not_remembered_as_what_the_key_cannot_do() {
    let token = nss();
    for function in ["C_SignInit", "C_DecryptInit"] {
        token.set(&format!("{function} 1 before return {VALUE}"));
        let capabilities = found(&token);
        assert!(capabilities.values().all(|capability| *capability == Capability::Native), "{function}: {capabilities:?}");
    }
}

#[test]
fn a_refusal_that_stays_is_what_the_key_cannot_do() {
    let token = nss();
    token.set(&format!("C_SignInit[CKM_RSA_PKCS_PSS,190] every before return {VALUE}"));
    let capabilities = found(&token);
    let refused: Vec<_> = capabilities.iter().filter(|(_, capability)| **capability == Capability::No).collect();
    assert_eq!(refused, [(&"RSA_PSS_SHA512_MAX_SALT", &Capability::No)]);
}
