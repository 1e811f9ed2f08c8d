//! Changes to a finished train without a private key break exactly their rules.

use std::sync::LazyLock;

use serde_json::Value;
use tar::EntryType;

use super::{broken, note};
use crate::support::{
    Engine, Station, Train, block_on,
    tamper::{CONFIG, RESULTS, Rootfs, flip_hex, run_script, stop},
};

/// A finished train of two stops, another over the same route, and the station that verifies it.
struct Finished {
    station: Station,
    train: Train,
    rootfs: Rootfs,
    other: Rootfs,
}

impl Finished {
    fn make() -> Self {
        let (engine, first, second) = (Engine::connect(), Station::start("a"), Station::start("b"));
        let travelled = || {
            let train = Train::of(&[first.seat(), second.seat()]).make();
            for station in [&first, &second] {
                let run = station.pre_run(&train.image).unwrap();
                run_script(&engine, &train.image, RESULTS);
                station.post_run(&run.run_id).unwrap();
            }
            train
        };
        let (train, other) = (travelled(), travelled());
        let rootfs = Rootfs::of(&engine, &train.image);
        let other = Rootfs::of(&engine, &other.image);
        Self { station: second, train, rootfs, other }
    }

    /// Each attack breaks exactly these rules.
    #[track_caller]
    fn break_exactly(&self, attacks: &[(&str, &[&str], Attack<'_>)]) {
        for (what, rules, attack) in attacks {
            let mut tampered = self.rootfs.clone();
            attack(&mut tampered);
            let found = self.station.verify_archive(&tampered.only("opt").tar());
            let found = found.unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
            assert_eq!(broken(&found.rules), *rules, "{what}: {:#?}", found.rules);
            assert_eq!(found.holds, rules.is_empty(), "{what}");
            for rule in *rules {
                assert!(note(&found.rules, rule).len() > 5, "{what}: {rule} does not say why");
            }
        }
    }
}

type Attack<'a> = &'a dyn Fn(&mut Rootfs);

const RESULT: &str = "opt/pht_results/d/a";
const USER_KEY: &str = "opt/user_sym_key.key";

#[test]
fn a_forged_chain_is_found() {
    let finished = Finished::make();
    let spliced = LazyLock::new(|| finished.other.clone().config());
    finished.break_exactly(&[
        ("nothing", &[], &|_| {}),
        ("the route in another order of the file", &[], &|train| {
            train.edit_config(|config| config["route"].as_array_mut().unwrap().reverse());
        }),
        ("another train's first link", &["newest-link"], &|train| {
            train.edit_config(|config| stop(config, 0)["signature"] = stop(&mut spliced.clone(), 0)["signature"].clone());
        }),
        ("another train's newest link", &["newest-link"], &|train| {
            train.edit_config(|config| stop(config, 1)["signature"] = stop(&mut spliced.clone(), 1)["signature"].clone());
        }),
        ("the results' signature for a link", &["newest-link", "signatures-apart"], &|train| {
            train.edit_config(|config| {
                let (digest, signature) = (config["result_hash"].clone(), config["result_signature"].clone());
                stop(config, 1)["signature"] = serde_json::json!({ "digest": digest, "signature": signature });
            });
        }),
        ("no results digest", &["route-shape", "newest-link", "results-signature"], &|train| {
            train.edit_config(|config| config["result_hash"] = Value::Null);
        }),
        ("another results digest", &["newest-link", "results-signature"], &|train| {
            train.edit_config(|config| flip_hex(&mut config["result_hash"]));
        }),
        ("a forged results signature", &["results-signature"], &|train| {
            train.edit_config(|config| flip_hex(&mut config["result_signature"]));
        }),
        ("another train's results signature", &["results-signature"], &|train| {
            train.edit_config(|config| config["result_signature"] = spliced["result_signature"].clone());
        }),
        ("stops in another order", &["newest-link", "results-signature"], &|train| {
            train.edit_config(|config| {
                for stop in config["route"].as_array_mut().unwrap() {
                    stop["index"] = (1 - stop["index"].as_i64().unwrap()).into();
                }
            });
        }),
        ("a stop left out", &["route-shape"], &|train| {
            train.edit_config(|config| drop(config["route"].as_array_mut().unwrap().remove(0)));
        }),
        ("a stop that has not signed before one that has", &["route-shape"], &|train| {
            train.edit_config(|config| stop(config, 0)["signature"] = Value::Null);
        }),
    ]);
}

#[test]
fn a_forged_config_is_found() {
    let finished = Finished::make();
    finished.break_exactly(&[
        ("the creator's signature", &["creator-signature", "builder-signature"], &|train| {
            train.edit_config(|config| flip_hex(&mut config["signature"]));
        }),
        ("the builder's signature", &["builder-signature"], &|train| {
            train.edit_config(|config| flip_hex(&mut config["build"]["signature"]));
        }),
        ("the digest of the code", &["creator-signature", "builder-signature"], &|train| {
            train.edit_config(|config| flip_hex(&mut config["hash"]));
        }),
        ("a session of 63 bytes", &["session-id-length"], &|train| {
            train.edit_config(|config| {
                let session = config["session_id"].as_str().unwrap();
                config["session_id"] = session[..126].into();
            });
        }),
        ("a second key behind a station's", &["chain-signatures", "route-keys-usable"], &|train| {
            train.edit_config(|config| {
                let own = config["creator"]["rsa_public_key"].as_str().unwrap().to_owned();
                let key = &mut stop(config, 0)["rsa_public_key"];
                *key = format!("{}{own}", key.as_str().unwrap()).into();
            });
        }),
        ("a bit of the user's key", &["user-key"], &|train| train.content(USER_KEY)[7] ^= 1),
        ("something behind the user's key", &["user-key"], &|train| train.content(USER_KEY).push(0)),
        ("a user's key that the config does not state", &["user-key"], &|train| {
            train.edit_config(|config| config["creator"]["encrypted_key"] = Value::Null);
        }),
    ]);
}

#[test]
fn a_key_appended_to_the_route_is_not_found_without_a_trust_store_and_the_report_says_so() {
    let finished = Finished::make();
    let mut tampered = finished.rootfs.clone();
    tampered.edit_config(|config| {
        let mut added = stop(config, 1).clone();
        (added["station"], added["index"], added["signature"]) = ("unknown".into(), 2.into(), Value::Null);
        added["rsa_public_key"] = config["build"]["rsa_public_key"].clone();
        config["route"].as_array_mut().unwrap().push(added);
    });
    let found = finished.station.verify_archive(&tampered.only("opt").tar()).unwrap();
    assert_eq!((found.holds, found.stops_signed, found.stops), (true, 2, 3));
    let note = note(&found.rules, "stations-pinned");
    assert_eq!(note, "no trust store was given");
    let unknown = crate::steps::verify::rules_that(&found.rules, stationmaster_proto::RuleOutcome::NotCheckable);
    assert!(unknown.contains(&"stations-pinned") && unknown.contains(&"unsigned-fields"), "{unknown:?}");
}

#[test]
fn what_does_not_belong_into_a_train_is_found() {
    let finished = Finished::make();
    let sealed = finished.rootfs.clone().content(RESULT).clone();
    let links: &[&str] = &["no-links-or-special-files"];
    finished.break_exactly(&[
        ("a file that is not listed", &["unlisted-files"], &|train| train.add_file("opt/pht_train/zz", &sealed)),
        ("a listed file less", &["listed-files-present"], &|train| train.remove("opt/pht_train/data.bin")),
        ("a name that climbs on the list", &["plain-names"], &|train| {
            train.edit_config(|config| config["file_list"].as_array_mut().unwrap().push("../x".into()));
        }),
        ("a symlink among the results", links, &|train| train.add("opt/pht_results/zz", EntryType::Symlink, "/etc/passwd")),
        ("a hard link among the results", links, &|train| train.add("opt/pht_results/zz", EntryType::Link, RESULT)),
        ("a device", links, &|train| train.add("opt/pht_results/zz", EntryType::Char, "")),
        ("a control character", &["plain-names"], &|train| train.add_file("opt/pht_results/zz\u{1b}[2J", &sealed)),
        ("a result twice", &["unique-ordered-names"], &|train| *train = train.clone().then(train.only(RESULT))),
        ("the config twice", &["unique-ordered-names"], &|train| *train = train.clone().then(train.only(CONFIG))),
        ("no results", &["both-directories-present"], &|train| train.remove("opt/pht_results")),
        ("a plain result", &["sealed-lengths"], &|train| *train.content(RESULT) = b"age,count\n".repeat(7)),
        ("a plain result of a sealed file's length", &["no-plaintext-layers"], &|train| {
            *train.content(RESULT) = b"age,cnt\n".repeat(8);
        }),
        ("half a block less", &["sealed-lengths"], &|train| train.content(RESULT).truncate(40)),
        ("nothing of a result", &["sealed-lengths"], &|train| train.content(RESULT).clear()),
    ]);
}

#[test]
fn an_image_is_held_to_the_same_rules_as_an_archive() {
    let finished = Finished::make();
    let engine = Engine::connect();
    let mut tampered = finished.rootfs.clone();
    tampered.add("opt/pht_results/zz", EntryType::Symlink, "/etc/passwd");
    tampered.edit_config(|config| flip_hex(&mut config["result_signature"]));
    tampered.content(USER_KEY)[0] ^= 1;
    tampered.add_file("opt/own.txt", b"plain");
    tampered.put(&engine, &finished.train.repository, "tampered");
    let image = format!("{}:tampered", finished.train.repository);
    let expected = ["no-links-or-special-files", "results-signature", "user-key"];
    let found = finished.station.verify(&image).unwrap();
    assert_eq!(broken(&found.rules), expected);
    assert!(note(&found.rules, "opt-allow-list").contains("own.txt"), "{:?}", found.rules);
    let saved = finished.station.verify_archive(&crate::support::tamper::saved(&image)).unwrap();
    assert_eq!(broken(&saved.rules), expected);
    // Without an engine.
    let offline = block_on(async {
        let archive = tampered.only("opt").tar();
        stationmaster::protocol::verify_archive(&archive[..], None, &|| Ok(())).map(|found| found.proof.report.holds())
    });
    assert!(matches!(offline, Ok(false)));
}
