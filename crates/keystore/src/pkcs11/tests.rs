//! Tests of failures below the pool, on SoftHSM: keys and tokens that are lost, calls that hang, threads that panic. What is lost on
//! every kind of token is in the suite (`crate::tests::suite`).

mod faults;
mod init_args;
mod spy;
pub(crate) mod underneath;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Pool,
    module::lock,
    worker::{Job, Task},
};
use crate::{tests::support::*, *};

/// While it exists, a worker is busy.
pub(crate) struct HeldWorker(#[expect(dead_code, reason = "dropped to release the worker")] crossbeam_channel::Sender<()>);

impl Pool {
    /// Keeps a worker busy, which must be the only one.
    pub(crate) fn hold_worker(&self) -> HeldWorker {
        let (begun, begins) = crossbeam_channel::bounded(1);
        let (release, until) = crossbeam_channel::bounded(0);
        let (reply, answer) = tokio::sync::oneshot::channel();
        let job = Job { task: Task::Hang { begun, until }, deadline: None, reply };
        self.threads.keys.push(&Arc::from("holder"), job).unwrap();
        begins.recv().unwrap();
        // The worker takes a job whose caller has left as done.
        drop(answer);
        HeldWorker(release)
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

/// Everything that a keystore tells of trials.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) announced: Mutex<Vec<(String, KeyUses)>>,
    found: Mutex<Vec<(usize, KeyUses)>>,
    refuses: AtomicBool,
}

impl TrialLog for Told {
    fn about_to_try(&self, key: &KeyDescription, most: KeyUses) -> Result<(), KeystoreError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(KeystoreError::Unavailable { reason: "as asked" });
        }
        lock(&self.announced).push((key.label.clone(), most));
        Ok(())
    }

    fn found(&self, keys: &[KeyDescription], uses: KeyUses) {
        lock(&self.found).push((keys.len(), uses));
    }
}

#[tokio::test]
async fn a_key_that_comes_back_as_it_was_is_not_tried_again_and_another_one_is_announced_first() {
    let station = TestToken::with_keys();
    let keystore = station.open();
    let told = Arc::new(Told::default());
    keystore.announce_trials_to(told.clone());
    let objects = || -> Vec<_> {
        let token = std::fs::read_dir(station.dir.path().join("tokens")).unwrap().next().unwrap().unwrap().path();
        let files = std::fs::read_dir(token).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|kind| kind == "object") && file.file_stem().unwrap() != "token")
            .collect()
    };
    let before = keystore.key_uses();
    // Away: every key for a while, as a token shows none whose store is not mounted.
    let away = station.dir.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let files = objects();
    let move_to = |to: &dyn Fn(&std::path::Path) -> std::path::PathBuf| {
        files
            .iter()
            .for_each(|file| std::fs::rename(to(file).as_path(), file).or_else(|_| std::fs::rename(file, to(file))).unwrap());
    };
    let aside = |file: &std::path::Path| away.join(file.file_name().unwrap());
    move_to(&aside);
    let gone = keystore.check(None).await;
    assert!(matches!(gone, Err(KeystoreError::Unavailable { .. })), "{gone:?}");
    move_to(&aside);
    recovered(&keystore).await;
    assert_eq!(keystore.key_uses(), before, "keys were used to get the token back");
    assert!(lock(&told.announced).is_empty());
    assert_eq!(lock(&told.found).last(), Some(&(2, before)), "the return is told");

    station.delete("general");
    keystore.check(None).await.unwrap();
    assert_eq!(keystore.missing(), ["general"]);
    station.generate("general", KeyUsage::ALL);
    told.refuses.store(true, Ordering::Relaxed);
    let unrecorded = sign(&keystore, "general", MAX_SALT, &[0; 64], None).await;
    assert_eq!(unrecorded, Err(KeystoreError::Unavailable { reason: "as asked" }));
    assert_eq!(keystore.key_uses(), before, "a trial that cannot be announced is not made");
    told.refuses.store(false, Ordering::Relaxed);
    // Found by a look, without a call that needs it.
    keystore.check(None).await.unwrap();
    assert_eq!(keystore.missing(), [""; 0]);
    let announced = lock(&told.announced).clone();
    let [(label, most)] = &announced[..] else { panic!("{announced:?}") };
    assert_eq!(label, "general");
    let after = keystore.key_uses();
    let tried = (after.signatures - before.signatures, after.decryptions - before.decryptions);
    assert_eq!((most.signatures, most.decryptions), tried);
    assert_eq!(lock(&told.found).last(), Some(&(2, after)));
    sign_and_verify(&keystore, "general", MAX_SALT).await;
}

#[tokio::test]
async fn a_keystore_closes_while_its_token_is_away() {
    let station = TestToken::with_keys();
    for way in ["emptied", "initialised anew"] {
        let keystore = station.open();
        let (tokens, away) = (station.dir.path().join("tokens"), station.dir.path().join("away"));
        std::fs::rename(&tokens, &away).unwrap();
        std::fs::create_dir(&tokens).unwrap();
        assert!(keystore.check(None).await.is_err(), "{way}");
        if way == "initialised anew" {
            let made = std::process::Command::new("softhsm2-util")
                .args(["--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", SO_PIN])
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        // The recovery thread is in one of its pauses, or about to check.
        for _ in 0..3 {
            assert!(keystore.check(None).await.is_err(), "{way}");
        }
        let closing = keystore.clone();
        let closed = tokio::time::timeout(Duration::from_secs(60), tokio::task::spawn_blocking(move || closing.close()));
        assert!(closed.await.expect("it never ends").unwrap(), "{way}");
        drop(keystore);
        std::fs::remove_dir_all(&tokens).unwrap();
        std::fs::rename(&away, &tokens).unwrap();
    }
}

/// Runs in a process of its own: the module stays initialised, and no other test of the process could use it.
#[test]
fn a_call_that_hangs_in_the_module_holds_up_neither_callers_nor_the_end() {
    const ALONE: &str = "STATIONMASTER_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(a_call_hangs());
    }
    let name = "pkcs11::tests::a_call_that_hangs_in_the_module_holds_up_neither_callers_nor_the_end";
    let test = std::env::current_exe().unwrap();
    let done = std::process::Command::new(test).args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
}

async fn a_call_hangs() {
    let station = TestToken::with_keys();
    let keystore = Keystore::open(KeystoreConfig { sessions: 1, ..station.config(&["train"]) }).unwrap();
    // As a call in a module that never comes back.
    let (begun, begins) = crossbeam_channel::bounded(1);
    let (let_go, until) = crossbeam_channel::bounded(1);
    let waiting = tokio::spawn({
        let keystore = keystore.clone();
        async move { keystore.pool().call(&Arc::from("test"), Task::Hang { begun, until }, None).await }
    });
    tokio::task::spawn_blocking(move || begins.recv()).await.unwrap().unwrap();
    keystore.give_up();
    let answer = waiting.await.unwrap();
    assert!(matches!(answer, Err(KeystoreError::Unavailable { .. })), "{answer:?}");
    let closing = keystore.clone();
    assert!(!tokio::task::spawn_blocking(move || closing.close()).await.unwrap(), "a call still hangs");
    assert!(!keystore.close(), "and closing again says so at once");
    drop(let_go);
}

#[tokio::test]
async fn a_panic_in_a_worker_leaves_nobody_waiting() {
    let station = TestToken::with_keys();
    let keystore = Keystore::open(KeystoreConfig { sessions: 1, ..station.config(&["train"]) }).unwrap();
    for _ in 0..3 {
        let answer = keystore.pool().call(&keystore.caller, Task::Panic, None).await;
        assert!(matches!(answer, Err(KeystoreError::Fault { .. })), "{answer:?}");
    }
    sign_and_verify(&keystore, "train", MAX_SALT).await;
}
