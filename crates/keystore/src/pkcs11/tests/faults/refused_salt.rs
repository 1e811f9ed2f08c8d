//! A token that refuses PSS with the longest salt, as TPMs do: SoftHSM through the fault module.

use super::*;

const MAX_SALT: SignScheme = SignScheme::PssSha512MaxSalt;
/// For keys of 2048 bits.
const REFUSES: &str = "C_SignInit[CKM_RSA_PKCS_PSS,190] every before return CKR_MECHANISM_PARAM_INVALID";

fn allowing_raw(token: &FaultyToken, labels: &[&str]) -> KeystoreConfig {
    KeystoreConfig { allow_raw_sign: true, ..token.token.config_with(token.access(), labels) }
}

fn capability(keystore: &Keystore, label: &str, scheme: SignScheme) -> Capability {
    keystore.key(label).unwrap().capabilities[scheme.name()]
}

#[tokio::test]
async fn a_salt_that_the_token_refuses_is_encoded_here_when_the_configuration_allows_it() {
    let token = FaultyToken::with_keys();
    token.set(REFUSES);
    let keystore = Keystore::open(allowing_raw(&token, &["train", "general"])).unwrap();
    for label in ["train", "general"] {
        assert_eq!(capability(&keystore, label, MAX_SALT), Capability::Raw);
        sign_and_verify(&keystore, label, MAX_SALT).await;
    }
    // What the token does itself stays there.
    assert_eq!(capability(&keystore, "general", SignScheme::Pss(Hash::Sha512)), Capability::Native);
    let before = keystore.key_uses();
    sign_and_verify(&keystore, "general", MAX_SALT).await;
    sign_and_verify(&keystore, "general", SignScheme::Pss(Hash::Sha512)).await;
    assert_eq!(keystore.key_uses().signatures, before.signatures + 2);
}

#[tokio::test]
async fn a_salt_that_the_token_refuses_is_refused_when_the_configuration_does_not_allow_raw_rsa() {
    let token = FaultyToken::with_keys();
    token.set(REFUSES);
    let keystore = token.open(1);
    assert_eq!(capability(&keystore, "train", MAX_SALT), Capability::No);
    let before = keystore.key_uses();
    let error = sign(&keystore, "train", MAX_SALT, &[1; 64], None).await.unwrap_err();
    assert!(matches!(error, KeystoreError::MechanismUnsupported { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("allow_raw_sign"), "{error:?}");
    assert_eq!(keystore.key_uses(), before, "the scheme is refused, not weakened");
}

#[tokio::test]
async fn the_setting_changes_nothing_for_a_key_whose_token_does_the_scheme() {
    let token = FaultyToken::with_keys();
    token.set("C_SignInit[CKM_RSA_X_509] every before crash");
    let keystore = Keystore::open(allowing_raw(&token, &["general"])).unwrap();
    assert!(schemes_of(KeyType::Rsa).all(|scheme| capability(&keystore, "general", scheme) == Capability::Native));
    sign_and_verify(&keystore, "general", MAX_SALT).await;
}

#[tokio::test]
async fn a_token_that_decrypts_raw_but_does_not_sign_raw_is_not_made_to_sign() {
    let token = FaultyToken::with_keys();
    token.set(&format!("{REFUSES}\nC_SignInit[CKM_RSA_X_509] every before return CKR_MECHANISM_INVALID"));
    let keystore = Keystore::open(allowing_raw(&token, &["general"])).unwrap();
    assert_eq!(capability(&keystore, "general", MAX_SALT), Capability::No);
    wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
    let before = keystore.key_uses();
    let refused = sign(&keystore, "general", MAX_SALT, &[1; 64], None).await;
    assert!(matches!(refused, Err(KeystoreError::MechanismUnsupported { .. })), "{refused:?}");
    assert_eq!(keystore.key_uses(), before);
}
