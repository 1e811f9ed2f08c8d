//! The way of a train through a development station, word for word as the help and the page say it.

use std::{fs, process::Command};

use openssl::{hash::MessageDigest, pkey::PKey, sign::Verifier};
use serde_json::json;

use super::{json, last_line, output};
use crate::support::{
    Station, Train,
    tamper::{RESULTS, Scene, inspected, run_script},
};

/// A shell that has sourced the station's env file, with the program in its path.
fn shell(station: &Station, script: &str) -> Command {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_stationmaster"));
    let mut path = program.parent().unwrap().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.env("PATH", path).args(["-euc", &format!(". \"$0\"; {script}")]).arg(station.state().join("env"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STATIONMASTER_")) {
        shell.env_remove(name);
    }
    shell
}

#[test]
fn a_train_passes_by_the_command_line_alone() {
    let station = Station::start("a");
    let exported = output(&mut shell(&station, "stationmaster key export --format hex-pem a"));
    assert_eq!(exported, station.hex_pem() + "\n");

    let scene = Scene::with(station);
    let image = &scene.train.image;
    let opened = output(&mut shell(&scene.station, &format!("stationmaster train pre-run {image} --output json")));
    let opened = last_line(&opened);
    let run_id = opened["run_id"].as_str().expect("a run_id").to_owned();
    let id = scene.engine.find(image).unwrap();
    for (field, value) in [
        ("image", json!(image)),
        ("image_id", json!(id)),
        ("session_id", scene.train.made["session_id"].clone()),
        ("stop_index", json!(0)),
        ("has_query", json!(true)),
        ("query", json!(const_hex::encode(scene.train.query.as_ref().unwrap()))),
        ("immutable_digest", scene.train.made["hash"].clone()),
        ("results_digest", json!("")),
        ("dropped_files", json!([])),
        ("repeated_answer", json!(false)),
    ] {
        assert_eq!(opened[field], value, "{field}");
    }
    assert!(opened["source_image_id"].is_string() && opened["warnings"].is_array());

    run_script(&scene.engine, image, RESULTS);
    let closed = output(&mut shell(&scene.station, &format!("stationmaster train post-run {run_id} --output json")));
    let closed = last_line(&closed);
    let sealed = scene.engine.find(image).unwrap();
    for (field, value) in [
        ("run_id", json!(run_id)),
        ("image", json!(image)),
        ("image_id", json!(sealed)),
        ("result_files", json!(2)),
        ("dropped_files", json!([])),
        ("plaintext_held_by", json!([])),
        ("warnings", json!([stationmaster::protocol::EMBEDDED])),
        ("repeated_answer", json!(false)),
    ] {
        assert_eq!(closed[field], value, "{field}");
    }
    let opened = scene.train.open(&[]);
    assert_eq!(closed["results_digest"], opened.result_hash);

    let again = json(&scene.station, &["train", "post-run", &run_id]);
    assert_eq!(again["repeated_answer"], true);
}

#[test]
fn over_tcp_it_is_the_same() {
    let scene = Scene::set();
    let script =
        format!("STATIONMASTER_ADDRESS=$STATIONMASTER_TCP; stationmaster train inspect {} --output json", scene.train.image);
    let inspected = last_line(&output(&mut shell(&scene.station, &script)));
    assert_eq!(inspected["train_id"], scene.train.made["train_id"]);
}

#[test]
fn post_run_takes_another_image_by_name() {
    let scene = Scene::set();
    let run = scene.pre_run().unwrap();
    let ran = run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.engine.tag(&ran, &scene.train.repository, "ran");
    let image = format!("{}:ran", scene.train.repository);
    scene.engine.untag(&scene.train.image);
    let closed = json(&scene.station, &["train", "post-run", &run.run_id, "--image", &image]);
    assert_eq!(closed["image"], image);
    assert_eq!(closed["image_id"], scene.engine.find(&image).unwrap());
    assert_eq!(scene.engine.find(&scene.train.image), None, "another name was written");
}

#[test]
fn post_run_finds_the_run_by_the_image() {
    let scene = Scene::set();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    assert_eq!(json(&scene.station, &["train", "post-run", "--image", &scene.train.image])["run_id"], run.run_id);
}

#[test]
fn abort_gives_a_run_up() {
    let scene = Scene::set();
    let sealed = scene.engine.find(&scene.train.image);
    let query = scene.train.directory().join("query.out");
    let opened = json(&scene.station, &["train", "pre-run", &scene.train.image, "--query-out", query.to_str().unwrap()]);
    assert_eq!(fs::read(&query).ok(), scene.train.query);
    let run_id = opened["run_id"].as_str().unwrap();
    let aborted = json(&scene.station, &["train", "abort", run_id]);
    assert_eq!(aborted, json!({"run_id": run_id, "image": scene.train.image, "plaintext_held_by": []}));
    assert_eq!(scene.engine.find(&scene.train.image), sealed);
}

#[test]
fn inspect_shows_what_a_train_states() {
    let (first, second) = (Station::start("a"), Station::start("b"));
    let train = Train::of(&[first.seat(), second.seat()]).make();
    let shown = json(&second, &["train", "inspect", &train.image]);
    let names = |field: &str| -> Vec<String> {
        let mut names: Vec<String> =
            shown[field].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names("listed"), train.code().into_keys().collect::<Vec<_>>());
    assert_eq!((names("unlisted").len(), &shown["missing"], &shown["own_index"]), (0, &json!([]), &json!(1)));
    assert_eq!(shown["query"]["path"], "query.json");
    assert_eq!(shown["base_image_id"], inspected(&train.base).id.unwrap());
    assert_eq!(shown["config"]["session_id"], shown["session_id"]);
    let stops: Vec<_> = shown["route"].as_array().unwrap().iter().map(|stop| &stop["station"]).collect();
    assert_eq!(stops, ["a", "b"]);
    assert_eq!(shown["route"][0]["fingerprint"], json!(first.key("a").unwrap().fingerprint));
    assert_eq!((&shown["route"][0]["has_key"], &shown["route"][1]["has_key"]), (&json!(true), &json!(false)));
    let table = output(&mut second.client_command(&["train", "inspect", &train.image]));
    assert!(table.contains("STATION") && table.contains("run.sh"), "{table}");
}

#[test]
fn hash_shows_the_digests_of_the_service() {
    let scene = Scene::set();
    let shown = json(&scene.station, &["hash", &scene.train.image]);
    let told = scene.station.hash(&scene.train.image, false).unwrap();
    assert_eq!(shown["tree_digest"], const_hex::encode(told.tree_digest));
    assert_eq!(shown["train"]["immutable_digest"], scene.train.made["hash"]);
    let train_only = json(&scene.station, &["hash", "--train-only", &scene.train.image]);
    assert_eq!((&train_only["tree_digest"], &train_only["train"]), (&json!(""), &shown["train"]));
}

#[test]
fn sign_and_unwrap_work_on_files() {
    let station = Station::start("a");
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("message"), b"a message").unwrap();
    let public =
        PKey::public_key_from_pem(output(&mut station.client_command(&["key", "export", "a-general"])).as_bytes()).unwrap();

    let signed = json(&station, &["sign", "--key", "a-general", "--scheme", "rsa-pkcs1-sha256", &at("message")]);
    let raw =
        ["sign", "--key", "a-general", "--scheme", "rsa-pkcs1-sha256", "--format", "raw", "-o", &at("signature"), &at("message")];
    output(&mut station.client_command(&raw));
    // PKCS#1 v1.5 is the same every time.
    let signature = fs::read(at("signature")).unwrap();
    assert_eq!(signed["signature"], const_hex::encode(&signature));
    let mut verifier = Verifier::new(MessageDigest::sha256(), &public).unwrap();
    assert!(verifier.verify_oneshot(&signature, b"a message").unwrap());
    let digest = const_hex::encode(openssl::sha::sha256(b"a message"));
    let by_digest = json(&station, &["sign", "--key", "a-general", "--scheme", "rsa-pkcs1-sha256", "--digest", &digest]);
    assert_eq!((&by_digest["signature"], &by_digest["digest"]), (&signed["signature"], &json!(digest)));

    fs::write(at("public"), public.public_key_to_pem().unwrap()).unwrap();
    fs::write(at("secret"), [7; 32]).unwrap();
    let wrapped = Command::new("openssl")
        .args(["pkeyutl", "-encrypt", "-pubin", "-inkey", &at("public"), "-in", &at("secret"), "-out", &at("wrapped")])
        .args(["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha512", "-pkeyopt", "rsa_mgf1_md:sha512"])
        .status();
    assert!(wrapped.unwrap().success());
    let unwrap = ["unwrap", "--key", "a-general", "--scheme", "rsa-oaep-sha512", &at("wrapped")];
    assert_eq!(json(&station, &unwrap)["unwrapped"], const_hex::encode([7; 32]));
    output(station.client_command(&unwrap).args(["-o", &at("opened")]));
    assert_eq!(fs::read(at("opened")).unwrap(), [7; 32]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(at("opened")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn keys_are_listed_shown_and_exported_in_every_form() {
    let station = Station::start("a");
    let listed = json(&station, &["key", "list"]);
    let labels: Vec<_> = listed["keys"].as_array().unwrap().iter().map(|key| &key["label"]).collect();
    assert_eq!(labels, ["a", "a-general", "audit"]);
    let shown = json(&station, &["key", "show", "a"]);
    assert_eq!(shown, listed["keys"][0]);
    for (field, value) in [
        ("purpose", json!("train")),
        ("bits", json!(2048)),
        ("sensitive", json!(true)),
        ("extractable", json!(false)),
        ("never_extractable", json!(true)),
        ("generated_in_token", json!(true)),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    let export = |format: &str| {
        let done = station.client_command(&["key", "export", "--format", format, "a"]).output().unwrap();
        assert!(done.status.success());
        done.stdout
    };
    let key = PKey::public_key_from_pem(&export("pem")).unwrap();
    assert_eq!(export("der"), key.public_key_to_der().unwrap());
    assert_eq!(const_hex::decode(String::from_utf8(export("hex-pem")).unwrap().trim_end()).unwrap(), export("pem"));
    let jwk: serde_json::Value = serde_json::from_slice(&export("jwk")).unwrap();
    assert_eq!((&jwk["kty"], &jwk["e"]), (&json!("RSA"), &json!("AQAB")));
    // The same at the token itself, past the service.
    let state = station.state().to_str().unwrap().to_owned();
    assert_eq!(output(&mut station.client_command(&["key", "export", "--state", &state, "a"])).as_bytes(), export("pem"));
    let table = output(&mut station.client_command(&["key", "list"]));
    assert!(table.starts_with("LABEL") && table.contains("a-general"), "{table}");
}
