//! `kill -9` while many write: what was answered is in the audit, and no key was used that is not.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use stationmaster::audit::{Event, Record, read, verify, verify::Expected};
use stationmaster_proto::SignatureScheme;

use crate::support::{Station, set, token::SpyLog};

/// Callers at once.
const WRITERS: usize = 8;

/// Digests that no other test signs.
fn digest(number: u64) -> [u8; 32] {
    let mut digest = [0xA5; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    digest
}

/// The digests of a log's key uses of a kind, hex: announced, or ended well.
fn in_the_audit(station: &Station) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut announced, mut ended) = (BTreeSet::new(), BTreeSet::new());
    let mut digests = std::collections::BTreeMap::new();
    for (_, path) in read::segments(&station.state().join("audit/service")).unwrap() {
        let mut segment = read::Segment::open(&path).unwrap();
        while let Some(line) = segment.next_record().unwrap() {
            let Record { seq, entry, .. } = line.record;
            match entry.event {
                Event::KeyUse => {
                    if let Some(digest) = entry.digest {
                        announced.insert(digest.clone());
                        digests.insert(seq, digest);
                    }
                }
                Event::KeyUsed if entry.outcome.as_deref() == Some("ok") => {
                    ended.extend(entry.of.and_then(|of| digests.remove(&of)));
                }
                _ => {}
            }
        }
    }
    (announced, ended)
}

fn kill_at_random(kills: usize) {
    let directory = tempfile::tempdir().unwrap();
    let (spy, launch) = SpyLog::on(directory.path().join("spy.log"), Station::with("a"));
    let mut station = launch.start_configured(|config| {
        set(config, "token", "sessions", 1);
        set(config, "token", "module", SpyLog::module());
    });
    let next = AtomicU64::new(0);
    let mut answered = BTreeSet::new();
    let mut seed = 0x5EED_u64;
    for kill in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let delay = Duration::from_micros((seed >> 33) % 60_000);
        let acknowledged: Vec<String> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut acknowledged = Vec::new();
                        loop {
                            let digest = digest(next.fetch_add(1, Ordering::Relaxed));
                            match station.sign("a-general", SignatureScheme::RsaPssSha256, &digest) {
                                Ok(_) => acknowledged.push(const_hex::encode(digest)),
                                Err(_) => return acknowledged,
                            }
                        }
                    })
                })
                .collect();
            std::thread::sleep(delay);
            station.signal(rustix::process::Signal::KILL);
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        answered.extend(acknowledged);
        station.wait();
        if kill % 100 == 99 {
            println!("{} kills, {} answers", kill + 1, answered.len());
        }
        station.start_again();
    }
    let (announced, ended) = in_the_audit(&station);
    let missing = answered.difference(&ended).count();
    let trial = const_hex::encode(openssl::sha::sha256(b"stationmaster: a trial signature, which says nothing"));
    let ours = spy.signed().into_iter().filter(|digest| digest.len() == 64 && *digest != trial).collect::<BTreeSet<_>>();
    // What the trial and the checkpoints sign is not what callers ask for.
    let used: Vec<_> = ours.iter().filter(|digest| digest.ends_with("a5a5a5a5")).collect();
    let unannounced: Vec<_> = used.iter().filter(|digest| !announced.contains(**digest)).collect();
    let files = verify::files(&station.state().join("audit/service")).unwrap();
    let key = station.key("audit").unwrap().public_key_der;
    let verified = verify::verify(&files, Expected { keys: &[&key], ..Expected::default() }).unwrap();
    println!(
        "{kills} kills with {WRITERS} writers: {} answers, {} uses seen on the token, {} announced; answers missing from the audit: \
         {missing}; key uses without an intent: {}",
        answered.len(),
        used.len(),
        announced.len(),
        unannounced.len()
    );
    assert!(answered.len() > kills && used.len() >= answered.len(), "too little happened for this to mean anything");
    assert_eq!((missing, &unannounced[..]), (0, &[][..]));
    assert!(verified.holds(), "{:?}", verified.flaws);
}

#[test]
fn no_answer_is_missing_and_no_key_use_unannounced_after_kills_at_random() {
    kill_at_random(12);
}

#[test]
#[ignore = "a long run: make soak"]
fn no_answer_is_missing_and_no_key_use_unannounced_after_a_thousand_kills() {
    kill_at_random(1000);
}
