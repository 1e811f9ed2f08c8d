//! Records the calls that a token receives, with `pkcs11-spy`.

#![expect(unsafe_code, reason = "changes the environment while no other thread runs, or speaks to a module without a wrapper")]

use crate::{tests::support::*, *};

const SPIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/pkcs11-spy.so", "/usr/lib64/pkcs11/pkcs11-spy.so"];

#[tokio::test]
async fn one_signature_and_one_decryption_per_call_and_one_login() {
    let spy = SPIES.into_iter().find(|spy| std::path::Path::new(spy).is_file()).expect("apt install opensc-pkcs11");
    let station = TestToken::with_keys();
    let log = station.dir.path().join("spy.log");
    // SAFETY: see `Station::new`.
    unsafe {
        std::env::set_var("PKCS11SPY", &station.module);
        std::env::set_var("PKCS11SPY_OUTPUT", &log);
    }
    let config = KeystoreConfig {
        sessions: 1,
        ..station.config_with(TokenAccess { module: std::path::PathBuf::from(spy).into(), ..station.access() }, &["train"])
    };
    let keystore = Keystore::open(config).unwrap();
    let count = |name: &str| {
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        text.lines().filter(|line| line.split(": ").nth(1).is_some_and(|call| call.trim() == name)).count()
    };
    let calls = || ["C_SignInit", "C_DecryptInit", "C_FindObjectsInit", "C_Sign", "C_Decrypt"].map(count);

    // The first call also opens the worker's session and finds the key.
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
    let before = calls();
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
    sign_and_verify(&keystore, "train", SignScheme::PssSha512MaxSalt).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
    let after = calls();
    let made: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    // The wrapper asks for the output's length first: two calls, one key use.
    assert_eq!(made, [2, 1, 0, 4, 2]);
    let uses = keystore.key_uses();
    assert_eq!([uses.signatures, uses.decryptions], [after[0] as u64, after[1] as u64]);
    assert_eq!(count("C_Login"), 1);
    assert_eq!(count("C_Initialize"), 1);
    drop(keystore);
    assert_eq!(count("C_Finalize"), 1);
}
