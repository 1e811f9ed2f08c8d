//! Tests of the text with which a module is initialised, with NSS softokn, which needs one.

use crate::{tests::support::*, *};

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

    admin::generate_key(&access, "general", KeyUsage::ALL, RSA_2048).unwrap();
    let keys = vec![KeyConfig::new("general", KeyUsage::ALL)];
    let keystore = Keystore::open(KeystoreConfig { keys, ..KeystoreConfig::new(access.clone()) }).unwrap();
    assert!(unusable(&without).0.contains("another text"), "a database other than the named one would be shown");
    assert_eq!(admin::contents(&access).unwrap().keys.len(), 1);
    drop(keystore);
    drop(station);
    // Another database, now that nothing uses the first one.
    assert_eq!(admin::contents(&TestToken::of(TokenKind::Nss).access()).unwrap().keys.len(), 0);
}
