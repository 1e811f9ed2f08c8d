//! A train that did not stay as its signers signed it: refused for one reason, whatever it was, with the cause in the log only.

use openssl::{
    md::{Md, MdRef},
    pkey::PKey,
    pkey_ctx::PkeyCtx,
    rsa::Padding,
};
use serde_json::Value;

use crate::support::{
    Engine, Refusal, Station, Train,
    tamper::{RESULTS, Rootfs, Scene, flip_hex, run_script, stop},
};

/// What a refusal for its cryptography shows, with what differs from one to the next taken out.
fn shown(refusal: &Refusal) -> (tonic::Code, String, Vec<String>, bool) {
    let mut names: Vec<String> = refusal.metadata.keys().cloned().collect();
    names.sort();
    (refusal.code, refusal.message.clone(), names, refusal.has_retry_info)
}

/// What an attacker does to a sealed train.
type Attack<'a> = &'a dyn Fn(&mut Rootfs);

/// Every attack is refused, all alike, and the log has the cause of each.
#[track_caller]
fn all_are_refused_alike(scene: &Scene, attacks: &[(&str, Attack)]) {
    let sealed = scene.rootfs();
    let mut seen = Vec::new();
    for (what, attack) in attacks {
        let mut tampered = sealed.clone();
        attack(&mut tampered);
        seen.push((what, scene.refuses(what, &tampered, "TRAIN_AUTHENTICATION_FAILED")));
    }
    let first = shown(&seen[0].1);
    assert_eq!((first.0, &first.2[..]), (tonic::Code::FailedPrecondition, &["refusal_id".to_owned()][..]));
    let log = scene.station.log();
    for (what, refusal) in &seen {
        assert_eq!(shown(refusal), first, "{what} can be told from the others");
        let id = &refusal.metadata["refusal_id"];
        let entry = log.lines().find(|line| line.contains(id.as_str())).unwrap_or_else(|| panic!("{what}: the log lacks {id}"));
        let entry: Value = serde_json::from_str(entry).expect("a line of JSON");
        let detail = ["detail", "fields"].iter().find_map(|name| match &entry[*name] {
            Value::Object(fields) => fields["detail"].as_str(),
            other => other.as_str(),
        });
        assert!(detail.is_some_and(|detail| detail.len() > 5), "{what}: no cause in {entry}");
    }
    says_no_secret(scene, &log);
    scene.still_works();
}

#[track_caller]
fn says_no_secret(scene: &Scene, log: &str) {
    assert!(!log.contains(&scene.station.pin()), "the log holds the PIN");
    for canary in scene.train.canaries() {
        assert!(!log.contains(std::str::from_utf8(canary).unwrap()), "the log holds plaintext");
    }
}

/// Wraps a key as trains' keys are wrapped.
pub fn wrap(hex_pem: &str, key: &[u8]) -> String {
    oaep(hex_pem, Md::sha512(), b"", key)
}

/// OAEP as trains do it, but for its hash or its label.
pub fn wrap_oddly(hex_pem: &str, md: &'static MdRef, label: &[u8]) -> String {
    oaep(hex_pem, md, label, &[7; 32])
}

fn oaep(hex_pem: &str, md: &'static MdRef, label: &[u8], key: &[u8]) -> String {
    let public = PKey::public_key_from_pem(&const_hex::decode(hex_pem).unwrap()).unwrap();
    let mut context = PkeyCtx::new(&public).unwrap();
    context.encrypt_init().unwrap();
    context.set_rsa_padding(Padding::PKCS1_OAEP).unwrap();
    context.set_rsa_oaep_md(md).unwrap();
    context.set_rsa_mgf1_md(md).unwrap();
    if !label.is_empty() {
        context.set_rsa_oaep_label(label).unwrap();
    }
    let mut wrapped = Vec::new();
    context.encrypt_to_vec(key, &mut wrapped).unwrap();
    const_hex::encode(wrapped)
}

const DATA: &str = "opt/pht_train/data.bin";

#[test]
fn tampered_code_is_refused() {
    all_are_refused_alike(
        &Scene::set(),
        &[
            ("a bit of the ciphertext", &|train| train.content(DATA)[20] ^= 1),
            ("a bit of the IV", &|train| train.content(DATA)[3] ^= 1),
            ("the padding", &|train| *train.content(DATA).iter_mut().nth_back(16).unwrap() ^= 1),
            ("a block less", &|train| {
                let short = train.content(DATA).len() - 16;
                train.content(DATA).truncate(short);
            }),
            ("half a block less", &|train| {
                let short = train.content(DATA).len() - 8;
                train.content(DATA).truncate(short);
            }),
            ("hardly anything left", &|train| train.content(DATA).truncate(5)),
            ("nothing left", &|train| train.content(DATA).clear()),
            ("another file's content", &|train| {
                let other = train.content("opt/pht_train/run.sh").clone();
                *train.content(DATA) = other;
            }),
            ("the query", &|train| train.content("opt/pht_train/query.json")[20] ^= 1),
            ("no query", &|train| train.remove("opt/pht_train/query.json")),
        ],
    );
}

#[test]
fn a_wrong_wrapped_key_is_refused() {
    let scene = Scene::set();
    let ours = scene.station.hex_pem();
    let set = |train: &mut Rootfs, wrapped: String| {
        train.edit_config(|config| stop(config, 0)["encrypted_key"] = wrapped.into());
    };
    all_are_refused_alike(
        &scene,
        &[
            ("a bit of it", &|train| train.edit_config(|config| flip_hex(&mut stop(config, 0)["encrypted_key"]))),
            ("another key", &|train| set(train, wrap(&ours, &[7; 32]))),
            ("a key of no AES length", &|train| set(train, wrap(&ours, &[7; 31]))),
            ("an empty key", &|train| set(train, wrap(&ours, &[]))),
            ("too short for RSA", &|train| set(train, "00".repeat(16))),
            ("larger than the modulus", &|train| set(train, "ff".repeat(256))),
            ("not hex", &|train| set(train, "zz".repeat(256))),
        ],
    );
}

#[test]
fn a_forged_creator_or_builder_is_refused() {
    all_are_refused_alike(
        &Scene::set(),
        &[
            ("the creator's signature", &|train| train.edit_config(|config| flip_hex(&mut config["signature"]))),
            ("the creator's key", &|train| {
                train.edit_config(|config| config["creator"]["rsa_public_key"] = config["build"]["rsa_public_key"].clone());
            }),
            ("the creator's id", &|train| train.edit_config(|config| config["creator"]["id"] = "somebody else".into())),
            ("the digest", &|train| train.edit_config(|config| flip_hex(&mut config["hash"]))),
            ("the session", &|train| train.edit_config(|config| flip_hex(&mut config["session_id"]))),
            ("the order of files", &|train| {
                train.edit_config(|config| config["file_list"].as_array_mut().unwrap().reverse());
            }),
            ("a file taken off the list", &|train| {
                train.edit_config(|config| drop(config["file_list"].as_array_mut().unwrap().pop()));
            }),
            ("the builder's signature", &|train| train.edit_config(|config| flip_hex(&mut config["build"]["signature"]))),
            ("the builder's key", &|train| {
                train.edit_config(|config| config["build"]["rsa_public_key"] = config["creator"]["rsa_public_key"].clone());
            }),
        ],
    );
}

/// A train at its second stop, `b`; and another train over the same route, at the same stop, in the same keys.
pub fn second_stop() -> (Scene, Train) {
    let (engine, first, second) = (Engine::connect(), Station::start("a"), Station::start("b"));
    let travelled = |engine: &Engine| {
        let train = Train::of(&[first.seat(), second.seat()]).make();
        let run = first.pre_run(&train.image).unwrap();
        run_script(engine, &train.image, RESULTS);
        first.post_run(&run.run_id).unwrap();
        train
    };
    let (train, other) = (travelled(&engine), travelled(&engine));
    (Scene { train, station: second, engine }, other)
}

#[test]
fn forged_results_and_a_forged_or_spliced_chain_are_refused() {
    let (scene, other) = second_stop();
    let spliced = Rootfs::of(&scene.engine, &other.image).config();
    const RESULT: &str = "opt/pht_results/d/a";
    all_are_refused_alike(
        &scene,
        &[
            ("a bit of a result", &|train| train.content(RESULT)[20] ^= 1),
            ("a result's padding", &|train| *train.content(RESULT).iter_mut().nth_back(16).unwrap() ^= 1),
            ("a result cut off", &|train| train.content(RESULT).truncate(16)),
            ("a result taken away", &|train| train.remove(RESULT)),
            ("a result added", &|train| {
                let copy = train.content(RESULT).clone();
                train.add_file("opt/pht_results/more", &copy);
            }),
            ("the results' digest", &|train| train.edit_config(|config| flip_hex(&mut config["result_hash"]))),
            ("the results' signature", &|train| train.edit_config(|config| flip_hex(&mut config["result_signature"]))),
            ("no signature of the results", &|train| {
                train.edit_config(|config| config["result_signature"] = Value::Null);
            }),
            ("a stop's digest", &|train| {
                train.edit_config(|config| flip_hex(&mut stop(config, 0)["signature"]["digest"]));
            }),
            ("a stop's signature", &|train| {
                train.edit_config(|config| flip_hex(&mut stop(config, 0)["signature"]["signature"]));
            }),
            ("the chain of another train", &|train| {
                let mut spliced = spliced.clone();
                train.edit_config(|config| stop(config, 0)["signature"] = stop(&mut spliced, 0)["signature"].take());
            }),
            ("the results' signature of another train", &|train| {
                train.edit_config(|config| config["result_signature"] = spliced["result_signature"].clone());
            }),
            ("an earlier stop's key", &|train| {
                train.edit_config(|config| {
                    let other = config["build"]["rsa_public_key"].clone();
                    stop(config, 0)["rsa_public_key"] = other;
                });
            }),
        ],
    );
}
