//! `token show`.

use std::fs;

use serde_json::Value;
use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};

use super::made::{Bench, says};
use crate::support::token::softhsm;

/// A bench whose module is the fault module, for its journal and rules.
fn watched() -> (Bench, FaultModule) {
    let bench = Bench::new();
    bench.done(&["token", "init", "--so-pin-file", &bench.path("so-pin")]);
    let fault = FaultModule::create(&bench.directory.path().join("fault"), &softhsm()).unwrap();
    let config = fs::read_to_string(bench.path("c.toml")).unwrap();
    let module = FaultModule::library().unwrap();
    fs::write(bench.path("c.toml"), config.replace(softhsm().to_str().unwrap(), module.to_str().unwrap())).unwrap();
    (bench, fault)
}

#[track_caller]
fn shown(bench: &Bench, fault: &FaultModule, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = bench.command(&[&["token", "show"], arguments].concat()).env(VARIABLE, fault.directory()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().next().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), serde_json::from_str(line).unwrap())
}

#[test]
fn a_token_is_shown_without_a_login_and_without_its_pin() {
    let (bench, fault) = watched();
    fs::remove_file(bench.path("pin")).unwrap();
    let (exit, value) = shown(&bench, &fault, &[]);
    assert_eq!(exit, Some(0), "{value}");
    let token = &value["tokens"][0];
    assert_eq!((&token["name"], &token["vendor"]["name"], &token["keys"]), (&"pht".into(), &"SoftHSM".into(), &Value::Null));
    assert!(says(token, "uri", "pkcs11:token=pht"), "{token}");
    let flags = &token["flags"];
    assert!(flags["initialised"] == true && flags["login_required"] == true && flags["user_pin_set"] == true, "{flags}");
    assert!(flags["user_pin_locked"] == false && flags["write_protected"] == false, "{flags}");
    let listed = |name: &str| {
        let all = token["mechanisms"].as_array().unwrap();
        all.iter().find(|mechanism| mechanism["name"] == name).unwrap()["listed"] == true
    };
    assert!(listed("CKM_RSA_PKCS_PSS") && listed("CKM_RSA_PKCS_OAEP") && listed("CKM_RSA_X_509"), "{token}");
    let journal = fault.journal().unwrap();
    assert_eq!((journal.calls("C_Login"), journal.calls("C_OpenSession")), (0, 0));

    let unknown = bench.command(&["token", "show", "--token", "other"]).env(VARIABLE, fault.directory()).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn the_trial_of_each_key_stands_beside_what_the_token_lists_and_is_recorded() {
    let (bench, fault) = watched();
    let generate = ["key", "generate", "hospital-1", "--purpose", "train", "--bits", "2048"];
    assert!(bench.command(&generate).env(VARIABLE, fault.directory()).status().unwrap().success());
    let (exit, value) = shown(&bench, &fault, &["--token", "pht", "--keys"]);
    assert_eq!(exit, Some(0), "{value}");
    let token = &value["tokens"][0];
    let key = &token["keys"][0];
    assert_eq!((&key["label"], &token["missing_keys"][0]), (&"hospital-1".into(), &"audit".into()), "{token}");
    let scheme = |name: &str| (key["schemes"][name]["listed"].as_bool().unwrap(), key["schemes"][name]["path"].as_str().unwrap());
    assert_eq!(scheme("RSA_PSS_SHA512_MAX_SALT"), (true, "native"));
    // Listed, and refused.
    assert_eq!(scheme("RSA_OAEP_SHA512"), (true, "raw"));
    let records = bench.done(&["audit", "show", "--log", "officer", "--event", "keys-tried"]);
    let outcomes: Vec<_> = records["records"].as_array().unwrap().iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, [Value::Null, "ok".into()], "{records}");
}

#[test]
fn a_token_that_cannot_be_used_leaves_the_others_shown() {
    let (bench, fault) = watched();
    let config = fs::read_to_string(bench.path("c.toml")).unwrap();
    let table =
        |label: &str, text: &str| text.replace("[token]", "[[token]]").replace("label = \"pht\"", &format!("label = {label:?}"));
    let second = config.split_once("[token]").unwrap().1.split_once("[state]").unwrap().0;
    let both = format!("{}\n[[token]]{}", table("pht", &config), second.replace("label = \"pht\"", "label = \"away\""));
    fs::write(bench.path("c.toml"), both).unwrap();
    let (exit, value) = shown(&bench, &fault, &[]);
    assert_eq!(exit, Some(6), "{value}");
    assert_eq!((&value["tokens"][0]["name"], &value["tokens"][1]["name"]), (&"pht".into(), &"away".into()), "{value}");
    assert!(
        says(&value["tokens"][1], "error", "no token labelled \"away\"") && value["tokens"][1]["hint"].is_string(),
        "{value}"
    );
}
