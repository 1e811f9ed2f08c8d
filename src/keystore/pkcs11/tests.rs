//! What goes wrong below: sessions, logins, keys and tokens that vanish under the pool.

mod native;
mod spy;

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};

use super::Pool;
use super::module::lock;
use super::worker::{Seat, Task};
use crate::keystore::tests::support::*;
use crate::keystore::*;

/// While it lives, the first worker cannot work.
pub(in crate::keystore) struct HeldSeat<'a>(#[expect(dead_code)] MutexGuard<'a, Option<Seat>>);

impl Pool {
    pub(in crate::keystore) fn hold_first_seat(&self) -> HeldSeat<'_> {
        HeldSeat(lock(&self.shared.seats[0]))
    }
}

const MAX_SALT: SignScheme = SignScheme::PssSha512MaxSalt;

async fn recovered(keystore: &Keystore) {
    let since = Instant::now();
    while let Err(error) = keystore.check(None).await {
        assert!(since.elapsed() < Duration::from_secs(5), "no recovery: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_lost_login_is_renewed_once_for_all() {
    let station = Station::with_keys();
    let keystore = station.open();
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    lock(&keystore.pool.shared.anchor).as_ref().unwrap().logout().unwrap();
    let calls = (0..16).map(|_| sign_and_verify(&keystore, "train", MAX_SALT));
    futures_util::future::join_all(calls).await;
    wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
    lock(&keystore.pool.shared.anchor).as_ref().unwrap().logout().unwrap();
    keystore.check(None).await.unwrap();
    assert_eq!(keystore.health(), Health::Ready);
}

#[tokio::test]
async fn sessions_lost_underneath_are_opened_again() {
    let station = Station::with_keys();
    let config = KeystoreConfig { sessions: 1, ..station.config(&["train", "general"]) };
    let keystore = Keystore::open(config).unwrap();
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    // Somebody else in the process sets the module up anew: all our sessions and the login are gone.
    let module = Pkcs11::new(&station.module).unwrap();
    module.clone().finalize().unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    wrap_and_unwrap(&keystore, "train", OaepScheme::Sha512).await;
    keystore.check(None).await.unwrap();
}

#[tokio::test]
async fn a_finalised_module_is_set_up_again() {
    let station = Station::with_keys();
    let keystore = station.open();
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    Pkcs11::new(&station.module).unwrap().finalize().unwrap();
    let refused = keystore.sign("train", MAX_SALT, &[0; 64], None).await;
    assert!(matches!(refused, Err(KeystoreError::Unavailable { .. })), "{refused:?}");
    recovered(&keystore).await;
    sign_and_verify(&keystore, "train", MAX_SALT).await;
}

#[tokio::test]
async fn a_deleted_key_is_missed_and_its_successor_found() {
    let station = Station::with_keys();
    let keystore = station.open();
    let first = keystore.key("general").unwrap();
    sign_and_verify(&keystore, "general", MAX_SALT).await;
    station.delete("general");
    let missing = KeystoreError::KeyNotFound { label: "general".to_owned() };
    for _ in 0..3 {
        let refused = keystore.sign("general", MAX_SALT, &[0; 64], None).await;
        assert_eq!(refused, Err(missing.clone()));
    }
    assert_eq!(keystore.keys().len(), 1);
    keystore.check(None).await.unwrap();

    station.generate("general", Purpose::General);
    sign_and_verify(&keystore, "general", MAX_SALT).await;
    wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
    assert_ne!(keystore.key("general").unwrap().spki_der, first.spki_der);
}

#[tokio::test]
async fn a_vanished_token_is_noticed_and_so_is_its_return() {
    let station = Station::with_keys();
    let keystore = station.open();
    let (tokens, away) = (station.dir.path().join("tokens"), station.dir.path().join("away"));
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    let gone = keystore.check(None).await;
    assert!(matches!(gone, Err(KeystoreError::Unavailable { .. })), "{gone:?}");
    assert!(matches!(keystore.health(), Health::Down { .. }));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    std::fs::remove_dir(&tokens).unwrap();
    std::fs::rename(&away, &tokens).unwrap();
    recovered(&keystore).await;
    assert_eq!(keystore.health(), Health::Ready);
    sign_and_verify(&keystore, "train", MAX_SALT).await;
    wrap_and_unwrap(&keystore, "general", OaepScheme::Sha512).await;
}

#[tokio::test]
async fn a_panic_in_a_worker_leaves_nobody_waiting() {
    let station = Station::with_keys();
    let keystore = Keystore::open(KeystoreConfig { sessions: 1, ..station.config(&["train"]) }).unwrap();
    for _ in 0..3 {
        let answer = keystore.pool.call(&keystore.who, Task::Panic, None).await;
        assert!(matches!(answer, Err(KeystoreError::Fault { .. })), "{answer:?}");
    }
    sign_and_verify(&keystore, "train", MAX_SALT).await;
}
