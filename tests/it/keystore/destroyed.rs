//! Keys as an administrator verifies, publishes and destroys them: only what was confirmed is erased, and every refusal is on record.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::made::{Bench, says};
use crate::support::{PROGRAM, token::softhsm};

fn with_token() -> Bench {
    let bench = Bench::new();
    bench.done(&["token", "init", "--so-pin-file", &bench.path("so-pin")]);
    bench
}

fn generated(bench: &Bench, label: &str, purpose: &str, kind: &str) -> Value {
    let bits = if kind == "rsa" { &["--bits", "2048"][..] } else { &[] };
    bench.done(&[&["key", "generate", label, "--purpose", purpose, "--type", kind], bits].concat())
}

fn fingerprint(key: &Value) -> String {
    key["fingerprint"].as_str().unwrap().to_owned()
}

fn labels(bench: &Bench) -> Vec<String> {
    let listed = bench.done(&["key", "list", "--config", &bench.path("c.toml")]);
    listed["keys"].as_array().unwrap().iter().map(|key| key["label"].as_str().unwrap().to_owned()).collect()
}

fn tool(bench: &Bench, arguments: &[&str]) -> String {
    let done = Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", &bench.conf)
        .args(["--module", softhsm().to_str().unwrap(), "--token-label", "pht", "--login", "--pin", "1234"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Runs `key destroy` on a terminal at which a line is typed.
fn typed(bench: &Bench, label: &str, line: &str) -> Option<i32> {
    let script = format!("'{PROGRAM}' key destroy {label} --reason typed");
    let mut child = Command::new("script")
        .env("SOFTHSM2_CONF", &bench.conf)
        .env("STATIONMASTER_CONFIG", bench.path("c.toml"))
        .args(["-qec", &script, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script of util-linux");
    child.stdin.take().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    child.wait_with_output().unwrap().status.code()
}

#[test]
fn a_key_is_destroyed_only_when_it_is_confirmed_and_a_configured_one_only_by_force() {
    let bench = with_token();
    let train = fingerprint(&generated(&bench, "hospital-1", "train", "rsa"));
    let old = fingerprint(&generated(&bench, "old", "general", "ec-p256"));
    let destroy = |label: &str, more: &[&str]| {
        let arguments = [&["key", "destroy", label, "--reason", "retired, ticket 4711"], more].concat();
        bench.program(&arguments)
    };
    let refused = |label: &str, more: &[&str], exit: i32| -> Value {
        let output = destroy(label, more);
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        serde_json::from_str::<Value>(String::from_utf8_lossy(&output.stdout).lines().last().unwrap()).unwrap()["error"].clone()
    };

    let silent = refused("old", &[], 2);
    assert!(says(&silent, "message", "no terminal") && says(&silent, "hint", "--fingerprint"), "{silent}");
    let other = refused("old", &["--yes", "--fingerprint", &train], 4);
    assert!(says(&other, "message", &old) && says(&other, "hint", "nothing was erased"), "{other}");
    let configured = refused("hospital-1", &["--yes", "--fingerprint", &train], 4);
    assert!(says(&configured, "message", "can never be opened here"), "{configured}");
    assert!(says(&configured, "hint", "--force-configured"), "{configured}");
    assert_eq!(typed(&bench, "old", "hospital-1"), Some(4));
    // These are refused before the token is opened.
    refused("old", &["--yes"], 2);
    refused("old", &["--fingerprint", &old], 2);
    let missing = refused("older", &["--yes", "--fingerprint", &old], 3);
    assert!(says(&missing, "message", "no key labelled \"older\""), "{missing}");
    assert_eq!(labels(&bench), ["hospital-1", "old"]);

    assert_eq!(typed(&bench, "old", "old"), Some(0));
    assert_eq!(labels(&bench), ["hospital-1"]);
    let objects = tool(&bench, &["-O"]);
    assert!(objects.contains("hospital-1") && !objects.contains("old"), "{objects}");
    let forced = destroy("hospital-1", &["--yes", "--fingerprint", &train, "--force-configured"]);
    assert!(forced.status.success(), "{forced:?}");
    let forced: Value = serde_json::from_slice(&forced.stdout).unwrap();
    let counts = ["public_keys", "certificates", "left"].map(|name| forced[name].as_u64().unwrap());
    assert_eq!((counts, &forced["fingerprint"]), ([1, 0, 0], &Value::from(train)));
    assert_eq!(labels(&bench), [""; 0]);

    let shown = bench.done(&["audit", "show", "--log", "officer", "--event", "key-destroyed"]);
    let records = shown["records"].as_array().unwrap();
    let outcomes: Vec<_> = records.iter().map(|record| record["outcome"].as_str()).collect();
    assert_eq!(outcomes, [None, Some("ok"), None, Some("ok")], "{shown}");
    let refusals = bench.done(&["audit", "show", "--log", "officer", "--event", "approval-refused"]);
    assert_eq!(refusals["records"].as_array().unwrap().len(), 4, "{refusals}");
    assert!(refusals.to_string().contains("was not typed"), "{refusals}");
    let text = shown.to_string();
    assert!(["retired, ticket 4711", &old, "pht"].iter().all(|what| text.contains(what)), "{text}");
    assert!(!text.contains("1234"), "{text}");
}

#[test]
fn a_key_is_verified_by_what_it_does_and_how_it_was_made() {
    let bench = with_token();
    generated(&bench, "hospital-1", "train", "rsa");
    generated(&bench, "curve", "general", "ec-p256");
    let state = |value: &Value, subject: &str| {
        let nodes = value["nodes"].as_array().unwrap().clone();
        nodes.iter().find(|node| node["subject"] == subject).map(|node| node["state"].as_str().unwrap().to_owned())
    };
    let success = Some("success".to_owned());
    let train = bench.done(&["key", "verify", "hospital-1"]);
    assert!(train["verified"] == true && train["purpose"] == "train" && train["never_extractable"] == true, "{train}");
    assert!(train["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "success"), "{train}");
    assert_eq!(state(&train, "RSA_OAEP_SHA512"), success, "{train}");
    assert_eq!(bench.done(&["key", "verify", "curve"])["verified"], true);

    let fails = |arguments: &[&str], cause: &str| {
        let output = bench.program(arguments);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &value["verified"]), (Some(8), &Value::from(false)), "{value}");
        assert!(value["nodes"].to_string().contains(cause), "{value}");
    };
    fails(&["key", "verify", "curve", "--purpose", "train"], "trains need an RSA key");
    tool(&bench, &["--keypairgen", "--key-type", "rsa:2048", "--label", "leaky", "--id", "4711", "--extractable"]);
    fails(&["key", "verify", "leaky"], "can be exported");
    let missing = bench.program(&["key", "verify", "nothing"]);
    assert_eq!(missing.status.code(), Some(3), "{missing:?}");

    let pem =
        openssl::pkey::PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap().private_key_to_pem_pkcs8().unwrap();
    fs::write(bench.path("k.pem"), pem).unwrap();
    let imported = Command::new("softhsm2-util")
        .env("SOFTHSM2_CONF", &bench.conf)
        .args(["--import", &bench.path("k.pem"), "--token", "pht", "--label", "imported", "--id", "4712", "--pin", "1234"])
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
    let imported = bench.done(&["key", "verify", "imported"]);
    assert!(imported["verified"] == true && imported["generated_in_token"] == false, "{imported}");
    assert!(imported["nodes"][0]["state"] == "warning", "{imported}");

    let tried = bench.done(&["audit", "show", "--log", "officer", "--event", "keys-tried"]).to_string();
    assert!(tried.contains("key verify") && tried.contains("hospital-1"), "{tried}");
}

#[test]
fn a_key_of_every_type_is_exported_as_ssh_reads_it() {
    let bench = with_token();
    for (kind, named) in [("rsa", "(RSA)"), ("ec-p256", "(ECDSA)"), ("ec-p384", "(ECDSA)"), ("ed25519", "(ED25519)")] {
        let key = generated(&bench, kind, "general", kind);
        let file = bench.path(&format!("{kind}.pub"));
        bench.done(&["key", "export", kind, "--format", "ssh", "-o", &file, "--config", &bench.path("c.toml")]);
        let ssh = |arguments: &[&str]| {
            let done =
                Command::new("ssh-keygen").args(arguments).args(["-f", &file]).output().expect("apt install openssh-client");
            assert!(done.status.success(), "{kind}: {done:?}");
            String::from_utf8(done.stdout).unwrap()
        };
        let listed = ssh(&["-l"]);
        assert!(listed.contains(named) && listed.contains(kind), "{listed}");
        // It writes no Ed25519 key in this format.
        if kind != "ed25519" {
            let again = openssl::pkey::PKey::public_key_from_pem(ssh(&["-e", "-m", "PKCS8"]).as_bytes()).unwrap();
            let der = const_hex::encode(again.public_key_to_der().unwrap());
            assert_eq!(key["public_key_der"], der, "{kind}");
        }
    }
}
