//! Tests with a token that supports OAEP with SHA-512 natively (NSS softokn), which SoftHSM does not.

#![expect(unsafe_code, reason = "changes the environment while no other thread runs, or speaks to a module without a wrapper")]

use std::{ffi::CString, ptr::NonNull};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    object::{Attribute, AttributeType, ObjectClass},
    session::UserType,
};

use crate::{tests::support::*, verify::wrap, *};

const SOFTOKN: &str = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so";
const TOKEN: &str = "NSS Certificate DB";

/// Initialises softokn over a database in `dir` and sets the user PIN. Stays initialised: the keystore joins.
fn softokn(dir: &std::path::Path) -> Pkcs11 {
    let parameters =
        CString::new(format!("configdir='sql:{}' certPrefix='' keyPrefix='' secmod='' flags=", dir.display())).unwrap();
    let module = Pkcs11::new(SOFTOKN).unwrap();
    let reserved = NonNull::new(parameters.as_ptr().cast_mut().cast()).unwrap();
    // SAFETY: softokn takes its parameters as a C string here and copies what it keeps; the string outlives the call.
    let arguments = unsafe { CInitializeArgs::new_with_reserved(CInitializeFlags::OS_LOCKING_OK, reserved) };
    module.initialize(arguments).unwrap();
    let slot = module.get_slots_with_token().unwrap()[1];
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&secret(""))).unwrap();
    session.init_pin(&secret(PIN)).unwrap();
    session.logout().unwrap();
    module
}

#[tokio::test]
async fn native_oaep_is_preferred_and_its_refusals_are_recognised() {
    if !std::path::Path::new(SOFTOKN).is_file() {
        eprintln!("skipped: no NSS softokn (apt install libnss3)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let module = softokn(dir.path());
    let access = TokenAccess::new(SOFTOKN.into(), TokenSelector::label(TOKEN), kept(PIN));
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
    let session = module.open_ro_session(module.get_slots_with_token().unwrap()[1]).unwrap();
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(b"audit".to_vec())];
    let [audit] = session.find_objects(&template).unwrap()[..] else { panic!("not one key") };
    let may = session.get_attributes(audit, &[AttributeType::Decrypt, AttributeType::Unwrap, AttributeType::Sign]).unwrap();
    assert_eq!(may, [Attribute::Decrypt(false), Attribute::Unwrap(false), Attribute::Sign(true)]);
    drop(session);
    drop(keystore);
    module.finalize().unwrap();
}
