//! Tests of calls that wait in the queue.

use std::time::{Duration, Instant};

use super::support::*;
use crate::*;

#[tokio::test]
async fn a_call_whose_deadline_passes_in_the_queue_is_not_carried_out() {
    let station = TestToken::with_keys();
    let config = KeystoreConfig { sessions: 1, ..station.config(&["general"]) };
    let keystore = Keystore::open(config).unwrap();
    // The one worker is kept from working: it cannot lock its slot.
    let slot = keystore.pool().hold_worker();
    let before = keystore.key_uses();
    let sign = |deadline| sign(&keystore, "general", SignScheme::Pss(Hash::Sha256), &[1; 32], deadline);
    let soon = || Some(Instant::now() + Duration::from_millis(30));
    // The first is taken up by the worker, which waits for its slot; the others stay in the queue.
    let late = futures_util::future::join_all((0..5).map(|_| sign(soon()))).await;
    assert!(late.iter().all(|answer| answer == &Err(KeystoreError::DeadlineExceeded)), "{late:?}");
    drop(slot);
    sign(None).await.unwrap();
    let done = keystore.key_uses().signatures - before.signatures;
    assert!(done <= 2, "{done} signatures: at most the one taken up, and the last");
    let past = sign(Some(Instant::now() - Duration::from_secs(1))).await;
    assert_eq!(past, Err(KeystoreError::DeadlineExceeded));
}

#[tokio::test]
async fn a_full_queue_turns_callers_away() {
    let station = TestToken::with_keys();
    let config = KeystoreConfig { sessions: 1, queue: 2, ..station.config(&["general"]) };
    let keystore = Keystore::open(config).unwrap();
    let slot = keystore.pool().hold_worker();
    let soon = Some(Instant::now() + Duration::from_millis(100));
    let answers =
        futures_util::future::join_all((0..8).map(|_| sign(&keystore, "general", SignScheme::Pss(Hash::Sha256), &[1; 32], soon)))
            .await;
    assert!(answers.contains(&Err(KeystoreError::Overloaded)), "{answers:?}");
    drop(slot);
    // Those that were given up still stand in the queue; they go first.
    while sign(&keystore, "general", SignScheme::Pss(Hash::Sha256), &[1; 32], None).await == Err(KeystoreError::Overloaded) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sign_and_verify(&keystore, "general", SignScheme::Pss(Hash::Sha256)).await;
}
