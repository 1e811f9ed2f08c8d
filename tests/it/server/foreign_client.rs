//! A client with no code of this project: Python's grpcio, which uses only the server's reflection.

use serde_json::Value;

use crate::support::{Peer, PeerError, Station};

const SCHEMES: [&str; 7] = [
    "RSA_PSS_SHA256",
    "RSA_PSS_SHA384",
    "RSA_PSS_SHA512",
    "RSA_PKCS1_SHA256",
    "RSA_PKCS1_SHA384",
    "RSA_PKCS1_SHA512",
    "RSA_PSS_SHA512_MAX_SALT",
];

/// How the client reaches the station.
fn over_unix(station: &Station) -> Vec<String> {
    vec!["--target".into(), format!("unix:{}", station.socket().display())]
}

fn over_tls(station: &Station, with_certificate: bool) -> Vec<String> {
    let env = station.env();
    let address = env["STATIONMASTER_TCP"].strip_prefix("https://").expect("an https address").to_owned();
    let mut arguments = vec!["--target".into(), address, "--ca".into(), env["STATIONMASTER_TLS_CA"].clone()];
    if with_certificate {
        arguments.extend(["--cert".into(), env["STATIONMASTER_TLS_CERT"].clone()]);
        arguments.extend(["--key".into(), env["STATIONMASTER_TLS_KEY"].clone()]);
    }
    arguments
}

fn sign(way: &[String], label: &str, scheme: &str) -> Result<Value, PeerError> {
    let what = ["--label", label, "--scheme", scheme].map(str::to_owned);
    // grpcio is in one of the two environments.
    Peer::new("2.0.5").script("foreign_client.py", way.iter().chain(&what))
}

#[track_caller]
fn signs_and_verifies(station: &Station, way: &[String], schemes: &[&str]) {
    for scheme in schemes {
        let signed = sign(way, "a-general", scheme).unwrap_or_else(|error| panic!("{scheme}: {error:?}"));
        assert_eq!(signed["verified"], true);
        assert_eq!(signed["fingerprint"], station.key("a-general").unwrap().fingerprint);
        let services = signed["services"].to_string();
        for service in ["KeyService", "ImageService", "TrainService"] {
            assert!(services.contains(&format!("stationmaster.v1.{service}")), "reflection lacks {service}: {services}");
        }
        assert!(services.contains("grpc.health.v1.Health"), "reflection lacks health: {services}");
    }
}

#[track_caller]
fn train_key_is_refused(way: &[String]) {
    for scheme in SCHEMES {
        let refused = sign(way, "a", scheme).expect_err("the train key signed");
        assert_eq!(
            (refused.answer["code"].as_str(), refused.answer["reason"].as_str()),
            (Some("PERMISSION_DENIED"), Some("KEY_NOT_ALLOWED"))
        );
        assert_eq!(refused.answer["domain"], "stationmaster.v1");
    }
}

#[test]
fn a_foreign_client_signs_over_the_unix_socket_and_verifies_with_its_own_library() {
    let station = Station::start("a");
    signs_and_verifies(&station, &over_unix(&station), &SCHEMES);
}

#[test]
fn a_foreign_client_with_a_certificate_signs_over_mutual_tls() {
    let station = Station::start("a");
    signs_and_verifies(&station, &over_tls(&station, true), &SCHEMES[..1]);
}

#[test]
fn a_foreign_client_cannot_sign_with_the_train_key() {
    let station = Station::start("a");
    train_key_is_refused(&over_unix(&station));
}

#[test]
fn a_foreign_client_without_a_certificate_is_refused() {
    let station = Station::start("a");
    let refused = sign(&over_tls(&station, false), "a-general", SCHEMES[0]).expect_err("it was let in");
    assert_eq!(refused.answer["code"], "UNAVAILABLE", "{refused:?}");
}
