//! What the records say: of key uses, refusals, changes of grants and trust, with who and what.

use serde_json::Value;
use stationmaster_proto as pb;

use crate::support::{
    PROGRAM, Station,
    tamper::{RESULTS, Scene, refused, run_script},
};

/// The records of a station's log, as the command line shows them.
pub fn records(station: &Station, filter: &[&str]) -> Vec<Value> {
    let state = station.state().to_str().unwrap().to_owned();
    let arguments = [&["--output", "json", "audit", "show", "--state", &state], filter].concat();
    let output = std::process::Command::new(PROGRAM).args(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = String::from_utf8(output.stdout).unwrap();
    let value: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    value["records"].as_array().unwrap().clone()
}

/// The same for people.
fn shown(station: &Station, filter: &[&str]) -> String {
    let arguments = [&["audit", "show", "--state", station.state().to_str().unwrap()], filter].concat();
    let output = std::process::Command::new(PROGRAM).args(&arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_default()
}

#[test]
fn a_run_can_be_read_from_the_audit_alone() {
    let scene = Scene::set();
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let closed = scene.station.post_run(&run.run_id).unwrap();
    let of_run = records(&scene.station, &["--run", &run.run_id]);
    let events: Vec<_> =
        of_run.iter().map(|record| (text(record, "event"), text(record, "rpc"), text(record, "operation"))).collect();
    assert_eq!(
        events,
        [
            ("key-use", "PreRun", "unwrap"),
            ("key-used", "PreRun", ""),
            ("step", "PreRun", ""),
            ("key-use", "PostRun", "sign"),
            ("key-used", "PostRun", ""),
            ("key-use", "PostRun", "sign"),
            ("key-used", "PostRun", ""),
            ("step", "PostRun", ""),
        ]
    );
    // How each key use ended belongs to it, although that record names no run.
    let (outcomes, of_run): (Vec<_>, Vec<_>) = of_run.into_iter().partition(|record| record["event"] == "key-used");
    assert!(outcomes.iter().all(|record| record["outcome"] == "ok"), "{outcomes:?}");
    let table = shown(&scene.station, &["--run", &run.run_id]);
    let uses: Vec<_> = table.lines().filter(|line| line.contains("key-use")).collect();
    assert!(uses.len() == 3 && uses.iter().all(|line| line.contains("key-use  ok ")), "{table}");
    let session = const_hex::encode(&run.session_id);
    for record in &of_run {
        assert_eq!(
            (text(&record["train"], "session"), record["train"]["stop"].as_u64()),
            (session.as_str(), Some(0)),
            "{record}"
        );
        assert!(text(record, "principal").starts_with("unix:uid="), "{record}");
    }
    let key = scene.station.key("a").unwrap();
    assert_eq!((text(&of_run[0]["key"], "label"), text(&of_run[0]["key"], "fingerprint")), ("a", key.fingerprint.as_str()));
    let (pre_run, post_run) = (&of_run[1], &of_run[4]);
    assert_eq!(text(&pre_run["images"], "in"), run.source_image_id);
    assert_eq!(text(&pre_run["images"], "out"), run.image_id);
    assert_eq!(text(&pre_run["digests"], "immutable"), const_hex::encode(&run.immutable_digest));
    assert_eq!(text(&post_run["images"], "out"), closed.image_id);
    assert_eq!(text(&post_run["digests"], "results_out"), const_hex::encode(&closed.results_digest));
    // The first signature is over the results.
    assert_eq!(text(&of_run[2], "digest"), const_hex::encode(&closed.results_digest));
    assert!(pre_run["rules"].as_array().unwrap().iter().any(|rule| rule["outcome"] == "checked"), "{pre_run}");
    let outcomes = records(&scene.station, &["--event", "key-used"]);
    assert!(outcomes.iter().all(|record| record["outcome"] == "ok") && outcomes.len() == 3, "{outcomes:?}");
    // By key, too; and without them when only what was announced is asked for.
    let of_key = records(&scene.station, &["--key", "a"]);
    assert_eq!(of_key.iter().filter(|record| record["event"] == "key-used").count(), 3, "{of_key:?}");
    assert_eq!(records(&scene.station, &["--key", "a", "--event", "key-use"]).len(), 3);
}

#[test]
fn the_cause_of_a_refusal_is_in_the_audit_under_the_id_that_its_caller_got() {
    let station = Station::start("a");
    let wrapped = [1; 256];
    let refusal = station.unwrap_key("a-general", pb::WrappingScheme::RsaOaepSha512, &wrapped).unwrap_err();
    let found = records(&station, &["--refusal", &refusal.metadata["refusal_id"]]);
    assert_eq!(found.len(), 1);
    assert_eq!((text(&found[0], "event"), text(&found[0], "outcome")), ("refusal", "UNWRAP_FAILED"));
    assert!(!text(&found[0], "detail").is_empty());
    // Its key use is there, too, announced and failed.
    let of_call = records(&station, &["--call", text(&found[0], "call")]);
    let events: Vec<_> = of_call.iter().map(|record| (text(record, "event"), text(record, "outcome"))).collect();
    assert_eq!(events, [("key-use", ""), ("key-used", "failed"), ("refusal", "UNWRAP_FAILED")]);
}

#[test]
fn refusals_of_every_kind_are_recorded() {
    let station = Station::start("a");
    refused("no such key", station.sign("nobody", pb::SignatureScheme::RsaPssSha256, &[1; 32]), "KEY_NOT_FOUND");
    refused("a train key", station.sign("a", pb::SignatureScheme::RsaPssSha256, &[1; 32]), "KEY_NOT_ALLOWED");
    refused("the audit's key", station.sign("audit", pb::SignatureScheme::RsaPssSha256, &[1; 32]), "KEY_NOT_ALLOWED");
    refused("no digest", station.sign("a-general", pb::SignatureScheme::RsaPssSha256, &[1; 3]), "MALFORMED_REQUEST");
    refused("no image", station.pre_run("stationmaster-test/none:latest"), "IMAGE_NOT_FOUND");
    refused("no reference", station.pre_run("Not A Reference"), "IMAGE_REF_INVALID");
    refused("no run", station.abort("none"), "RUN_NOT_FOUND");
    let outcomes: Vec<_> =
        records(&station, &["--event", "refusal"]).iter().map(|record| text(record, "outcome").to_owned()).collect();
    assert_eq!(
        outcomes,
        [
            "KEY_NOT_FOUND",
            "KEY_NOT_ALLOWED",
            "KEY_NOT_ALLOWED",
            "MALFORMED_REQUEST",
            "IMAGE_NOT_FOUND",
            "IMAGE_REF_INVALID",
            "RUN_NOT_FOUND"
        ]
    );
    assert!(records(&station, &["--event", "key-use"]).iter().all(|record| text(record, "rpc") == "checkpoint"));
}

#[test]
fn a_changed_access_file_and_a_changed_trust_file_are_recorded_before_they_count() {
    let station = Station::with("a").start_pinned();
    let digest = |file: &str| const_hex::encode(openssl::sha::sha256(&std::fs::read(station.state().join(file)).unwrap()));
    let newest =
        |event: &str| records(&station, &["--event", event]).last().map(|record| text(&record["about"], "sha256").to_owned());
    assert_eq!(newest("access-changed"), Some(digest("access.toml")));
    assert_eq!(newest("trust-changed"), Some(digest("trust.toml")));
    let access = std::fs::read_to_string(station.state().join("access.toml")).unwrap();
    std::fs::write(station.state().join("access.toml"), access + "# changed\n").unwrap();
    station.keys().unwrap();
    assert_eq!(newest("access-changed"), Some(digest("access.toml")));
}

#[test]
fn what_is_exported_can_be_checked_and_read_by_others() {
    let mut station = Station::start("a");
    station.sign("a-general", pb::SignatureScheme::RsaPssSha256, &[1; 32]).unwrap();
    let key = station.state().join("audit.pem");
    std::fs::write(&key, station.key("audit").unwrap().public_key_pem).unwrap();
    station.stop();
    let state = station.state().to_str().unwrap().to_owned();
    let file = |name: &str| station.state().join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(PROGRAM).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let (json, ocsf) = (file("export.jsonl"), file("export.ocsf"));
    run(&["audit", "export", "--state", &state, "-o", &json]);
    run(&["audit", "verify", &json, "--key", key.to_str().unwrap()]);
    run(&["audit", "export", "--state", &state, "--format", "ocsf", "-o", &ocsf]);
    let lines = |file: &str| -> Vec<Value> {
        std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (records, events) = (lines(&json), lines(&ocsf));
    assert!(records.len() == events.len() && records.len() > 4);
    for (record, event) in records.iter().zip(&events) {
        assert_eq!((event["class_uid"].as_u64(), event["category_uid"].as_u64()), (Some(6003), Some(6)));
        assert_eq!(event["type_uid"].as_u64().unwrap(), 600_300 + event["activity_id"].as_u64().unwrap());
        assert_eq!(&event["unmapped"], record);
    }
    let signed =
        events.iter().find(|event| event["unmapped"]["event"] == "key-use" && event["api"]["operation"] == "Sign").unwrap();
    assert_eq!(signed["resources"][0]["name"], "a-general");
}
