//! Tests with a token that supports OAEP with SHA-512 natively (NSS softokn), which SoftHSM does not.

use cryptoki::{
    context::Pkcs11,
    object::{Attribute, AttributeType, ObjectClass},
};

use crate::{tests::support::*, verify::wrap, *};

#[test]
fn a_module_is_told_its_text_and_all_its_users_at_a_time_tell_the_same() {
    let station = TestToken::of(TokenKind::Nss);
    let access = station.access();
    let without = TokenAccess { module: station.module.clone().into(), ..access.clone() };
    let unusable = |access: &TokenAccess| match admin::contents(access) {
        Err(error @ KeystoreError::ModuleUnusable { .. }) => (error.to_string(), error.hint().unwrap()),
        other => panic!("{other:?}"),
    };
    let (message, hint) = unusable(&without);
    assert!(message.contains("C_Initialize") && hint.contains("module_init_args"), "{message}: {hint}");
    let zero = ModuleConfig { init_args: Some("configdir='\0'".to_owned()), ..access.module.clone() };
    assert!(unusable(&TokenAccess { module: zero, ..access.clone() }).0.contains("zero byte"));

    admin::generate_key(&access, "general", KeyUsage::ALL, 2048).unwrap();
    let keys = vec![KeyConfig { label: "general".to_owned(), usage: KeyUsage::ALL }];
    let keystore = Keystore::open(KeystoreConfig { keys, ..KeystoreConfig::new(access.clone()) }).unwrap();
    assert!(unusable(&without).0.contains("another text"), "a database other than the named one would be shown");
    assert_eq!(admin::contents(&access).unwrap().keys.len(), 1);
    drop(keystore);
    drop(station);
    // Another database, now that nothing uses the first one.
    assert_eq!(admin::contents(&TestToken::of(TokenKind::Nss).access()).unwrap().keys.len(), 0);
}

#[tokio::test]
async fn native_oaep_is_preferred_and_its_refusals_are_recognised() {
    let station = TestToken::of(TokenKind::Nss);
    let access = station.access();
    let mut config = KeystoreConfig::new(access.clone());
    config.allow_raw_unwrap = true;
    config.keys = vec![KeyConfig { label: "general".to_owned(), usage: KeyUsage::ALL }];
    let made = admin::generate_key(&access, "general", KeyUsage::ALL, 2048).unwrap();
    assert!(made.description.sensitive && !made.description.extractable);
    let keystore = Keystore::open(config).unwrap();
    let key = keystore.key("general").unwrap();
    assert_eq!(key.capabilities["RSA_OAEP_SHA512"], Capability::Native, "{key:?}");

    for scheme in SignScheme::ALL {
        sign_and_verify(&keystore, "general", scheme).await;
    }
    for scheme in OaepScheme::ALL {
        wrap_and_unwrap(&keystore, "general", scheme).await;
        let mut bad = wrap(&public(&keystore, "general"), scheme, &[7; 32]).unwrap();
        bad[99] ^= 1;
        for bad in [&bad[..], &[0; 256], &bad[1..]] {
            let refused = unwrap(&keystore, "general", scheme, bad, None).await;
            assert_eq!(refused.err(), Some(KeystoreError::UnwrapFailed));
        }
        wrap_and_unwrap(&keystore, "general", scheme).await;
    }
    // Whatever this token does with CKA_ALLOWED_MECHANISMS.
    admin::generate_key(&access, "audit", CHECKPOINTS, 2048).unwrap();
    // The library is loaded once: this is the keystore's module, initialised.
    let module = Pkcs11::new(&station.module).unwrap();
    let session = module.open_ro_session(module.get_slots_with_token().unwrap()[1]).unwrap();
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(b"audit".to_vec())];
    let [audit] = session.find_objects(&template).unwrap()[..] else { panic!("not one key") };
    let may = session.get_attributes(audit, &[AttributeType::Decrypt, AttributeType::Unwrap, AttributeType::Sign]).unwrap();
    assert_eq!(may, [Attribute::Decrypt(false), Attribute::Unwrap(false), Attribute::Sign(true)]);
    drop(session);
    drop(keystore);
}
