//! What runs is what the creator signed (8, 9, 11, 12).

use tar::EntryType;

use super::{forged, train_lib_opens};
use crate::support::{
    Station, Train, set,
    tamper::{Rootfs, Scene},
};

const DATA: &str = "opt/pht_train/data.bin";
const RUN: &str = "opt/pht_train/run.sh";
const QUERY: &str = "opt/pht_train/query.json";

/// The train's own files, which are known to anyone with the algorithm.
fn known(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/peer/algorithm/{path}", env!("CARGO_MANIFEST_DIR"))).expect("the algorithm")
}

/// A file of the attacker's own, made without any key.
fn with_forged(path: &str, content: &'static [u8]) -> impl Fn(&mut Rootfs) {
    let (path, known) = (path.to_owned(), known("run.sh"));
    move |train| {
        let sealed = forged(&known, train.content(RUN), content);
        train.add_file(&path, &sealed);
    }
}

#[test]
fn unlisted() {
    let attack = with_forged("opt/pht_train/own.sh", b"echo FORGED");
    train_lib_opens(&attack, |mut opened| assert_eq!(opened.content("opt/pht_train/own.sh"), b"echo FORGED"));
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    attack(&mut arrived);
    arrived.put(&ours.engine, &ours.train.repository, "latest");
    assert_eq!(ours.pre_run().unwrap().dropped_files, ["own.sh"]);
    assert!(!ours.rootfs().below("opt/pht_train").contains("own.sh"));
}

#[test]
fn pyc() {
    let path = "opt/pht_train/lib/__pycache__/part.cpython-311.pyc";
    let attack = |train: &mut Rootfs| {
        train.add("opt/pht_train/lib/__pycache__", EntryType::Directory, "");
        with_forged(path, b"\xa7\r\r\n\x01")(train);
    };
    train_lib_opens(&attack, |mut opened| assert_eq!(opened.content(path), b"\xa7\r\r\n\x01"));
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    attack(&mut arrived);
    arrived.put(&ours.engine, &ours.train.repository, "latest");
    assert_eq!(ours.pre_run().unwrap().dropped_files, ["lib/__pycache__/part.cpython-311.pyc"]);
    assert!(!ours.rootfs().below("opt").contains("pht_train/lib/__pycache__/part.cpython-311.pyc"));
}

#[test]
fn forge_nokey_of_a_listed_file() {
    // Of a file that is signed, a forgery is found by its digest alone; train_lib finds it, too.
    let attack = |train: &mut Rootfs| *train.content(DATA) = forged(&known("run.sh"), train.content(RUN), b"echo FORGED");
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    attack(&mut arrived);
    ours.refuses("a forged listed file", &arrived, "TRAIN_AUTHENTICATION_FAILED");
    ours.still_works();
}

/// What an attacker moves in a train's files, and what it is called.
type Move = (&'static str, Box<dyn Fn(&mut Rootfs)>);

/// Bytes behind the session id, and a session id that begins before it: both leave the signed digest as it is.
fn moves(train: &Train) -> [Move; 2] {
    let (session, query) = (train.session_id(), train.query.clone().expect("a query"));
    let moved = |session: Vec<u8>| {
        move |train: &mut Rootfs| {
            train.edit_config(|config| config["session_id"] = const_hex::encode(&session).into());
        }
    };
    let with_query = moved([session.clone(), query].concat());
    let with_file = moved([known("data.bin"), session].concat());
    [
        (
            "the query moved into the session id",
            Box::new(move |train: &mut Rootfs| {
                with_query(train);
                train.remove(QUERY);
            }),
        ),
        (
            "the last file moved into the session id",
            Box::new(move |train: &mut Rootfs| {
                with_file(train);
                *train.content(DATA) = forged(&known("run.sh"), train.content(RUN), b"");
            }),
        ),
    ]
}

#[test]
fn boundary_of_the_session_id() {
    for version in crate::steps::weaknesses::VERSIONS {
        let lib = crate::steps::weaknesses::Lib::new(version, "a");
        for attack in 0..2 {
            let train = Train::of(&[lib.seat()]).make();
            assert_eq!(train.made["file_list"].as_array().unwrap().last().unwrap(), "./data.bin");
            crate::steps::weaknesses::arrives(&train, &moves(&train)[attack].1);
            lib.opens(&train);
        }
    }
    let ours = Scene::pinned();
    let [(query, with_query), (file, with_file)] = moves(&ours.train);
    let mut arrived = ours.rootfs();
    with_query(&mut arrived);
    let refusal = ours.refuses(query, &arrived, "IMAGE_POLICY_VIOLATION");
    assert_eq!(refusal.metadata["rule"], "session-id-length");
    // A whole file is longer than any session id, whatever the rules are.
    let mut arrived = ours.rootfs();
    with_file(&mut arrived);
    ours.refuses(file, &arrived, "CONFIG_MALFORMED");
    ours.still_works();
    // It is this rule that refuses it: nothing else does.
    let relaxed = Station::with("a").start_pinned_and(|config| {
        set(config, "rules", "relax", vec![toml::Value::from("session-id-length")]);
    });
    let train = Train::of(&[relaxed.seat()]).make();
    relaxed.trust_train(&train);
    crate::steps::weaknesses::arrives(&train, &moves(&train)[0].1);
    assert!(!relaxed.pre_run(&train.image).unwrap().has_query);
}

#[test]
fn boundary_of_the_creator_id() {
    // A byte between the creator's id and the first file. Another creator is not in the trust store.
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    arrived.edit_config(|config| {
        let id = config["creator"]["id"].as_str().unwrap().to_owned();
        config["creator"]["id"] = format!("{id}#").into();
    });
    let refusal = ours.refuses("a creator's id that goes on", &arrived, "KEY_UNTRUSTED");
    assert_eq!(refusal.metadata["rule"], "creator-pinned");
}

#[test]
fn special() {
    let attack = |train: &mut Rootfs| train.add("opt/pht_train/link", EntryType::Symlink, "/etc/passwd");
    train_lib_opens(&attack, |mut opened| assert_eq!(opened.entry("opt/pht_train/link").kind, EntryType::Symlink));
    let ours = Scene::pinned();
    let mut arrived = ours.rootfs();
    attack(&mut arrived);
    let refusal = ours.refuses("a symlink among the code", &arrived, "IMAGE_POLICY_VIOLATION");
    assert_eq!(refusal.metadata["rule"], "no-links-or-special-files");
}
