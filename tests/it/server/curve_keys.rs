//! Keys on elliptic curves: `Sign` as other libraries verify it, what such keys refuse, and that trains stay with RSA.

use std::{fs, process::Command};

use openssl::{
    ecdsa::EcdsaSig,
    pkey::{PKey, Public},
    sha::{sha256, sha384},
    sign::Verifier,
};
use serde_json::Value;
use stationmaster_proto::{
    GetStatusRequest, KeyType, SignatureScheme as Scheme, WrappingScheme as Wrapping, status_service_client::StatusServiceClient,
};

use crate::{
    audit::evidence::records,
    cli::{last_line, output},
    support::{Peer, Station, block_on, set, tamper::refused, token::softhsm, wait_for},
};

const MESSAGE: &[u8] = b"signed for a foreign client";

/// A station with a general key of each type, which are labelled by it.
fn station(layouts: &tempfile::TempDir) -> Station {
    station_and(layouts, |_| {})
}

fn station_and(layouts: &tempfile::TempDir, change: impl FnOnce(&mut toml::Table)) -> Station {
    let mut station = Station::with("a").layouts(layouts.path()).start();
    for label in ["ec-p256", "ec-p384", "ed25519"] {
        let made = station.generate_key(label, "general", label);
        assert_eq!((&made["never_extractable"], &made["mechanisms_restricted"]), (&true.into(), &true.into()), "{made}");
    }
    station.stop();
    let general: Vec<toml::Value> = ["a-general", "ec-p256", "ec-p384", "ed25519"].map(toml::Value::from).into();
    station.configure(|config| {
        set(config, "keys", "general", general);
        set(config, "listen", "reflection", true);
        change(config);
    });
    station.start_again();
    station
}

fn public_key(station: &Station, label: &str) -> PKey<Public> {
    PKey::public_key_from_pem(station.key(label).unwrap().public_key_pem.as_bytes()).unwrap()
}

fn verifies(key: &PKey<Public>, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
    let ecdsa = |digest: &[u8]| EcdsaSig::from_der(signature).unwrap().verify(digest, &key.ec_key().unwrap()).unwrap();
    match scheme {
        Scheme::Ed25519 => Verifier::new_without_digest(key).unwrap().verify_oneshot(signature, message).unwrap(),
        Scheme::EcdsaP256Sha256 => ecdsa(&sha256(message)),
        _ => ecdsa(&sha384(message)),
    }
}

#[test]
fn keys_of_every_type_sign_and_two_other_libraries_verify_it() {
    let layouts = tempfile::tempdir().unwrap();
    let station = station(&layouts);
    for (label, scheme, key_type, bits) in [
        ("ec-p256", Scheme::EcdsaP256Sha256, KeyType::EcP256, 256),
        ("ec-p384", Scheme::EcdsaP384Sha384, KeyType::EcP384, 384),
        ("ed25519", Scheme::Ed25519, KeyType::Ed25519, 255),
    ] {
        let shown = station.key(label).unwrap();
        assert_eq!((shown.r#type(), shown.bits), (key_type, bits));
        let name = scheme.as_str_name().trim_start_matches("SIGNATURE_SCHEME_");
        assert_eq!(shown.capabilities, [(name.to_owned(), "native".to_owned())].into());

        let key = public_key(&station, label);
        let signature = match scheme {
            Scheme::Ed25519 => station.sign_asked(label, scheme, &[], MESSAGE),
            Scheme::EcdsaP256Sha256 => station.sign(label, scheme, &sha256(MESSAGE)),
            _ => station.sign(label, scheme, &sha384(MESSAGE)),
        };
        let signature = signature.unwrap();
        assert!(verifies(&key, scheme, MESSAGE, &signature), "{label}");
        assert!(!verifies(&key, scheme, b"another message", &signature), "{label}");

        let target = format!("unix:{}", station.socket().display());
        let arguments = ["--target", &target, "--label", label, "--scheme", name];
        let by_python = Peer::new("2.0.5").script("foreign_client.py", arguments).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((&by_python["verified"], &by_python["fingerprint"]), (&true.into(), &shown.fingerprint.into()));
    }
    assert_eq!(station.key("a-general").unwrap().r#type(), KeyType::Rsa);
    // Of a message that is signed itself, the audit has the digest.
    let of_key = records(&station, &["--key", "ed25519", "--event", "key-use"]);
    assert_eq!(of_key.len(), 2, "{of_key:?}");
    for record in of_key {
        assert_eq!(record["digest"], const_hex::encode(sha256(MESSAGE)), "{record}");
        assert_eq!(record["scheme"], "ED25519");
    }
}

#[test]
fn a_scheme_of_another_type_of_key_is_refused_with_both_types() {
    let layouts = tempfile::tempdir().unwrap();
    let station = station(&layouts);
    let before = records(&station, &["--event", "key-use"]).len();
    for (label, scheme, length, named) in [
        ("ec-p256", Scheme::RsaPssSha256, 32, "RSA_PSS_SHA256 needs an RSA key; the key labelled \"ec-p256\" is EC P-256"),
        ("ec-p256", Scheme::EcdsaP384Sha384, 48, "ECDSA_P384_SHA384 needs an EC P-384 key"),
        ("ed25519", Scheme::EcdsaP256Sha256, 32, "the key labelled \"ed25519\" is Ed25519"),
        ("a-general", Scheme::EcdsaP256Sha256, 32, "the key labelled \"a-general\" is RSA"),
        ("a-general", Scheme::Ed25519, 0, "ED25519 needs an Ed25519 key"),
    ] {
        let refusal = refused(label, station.sign(label, scheme, &vec![1; length]), "MECHANISM_UNSUPPORTED");
        assert!(refusal.message.contains(named), "{refusal:?}");
    }
    let unwrapped = station.unwrap_key("ec-p256", Wrapping::RsaOaepSha512, &[1; 256]);
    let refusal = refused("unwrap", unwrapped, "MECHANISM_UNSUPPORTED");
    assert!(refusal.message.contains("RSA_OAEP_SHA512 needs an RSA key"), "{refusal:?}");

    // A digest or a message, as the scheme has it.
    let [digest, message] = [&[1; 32][..], MESSAGE];
    for (scheme, label, digest, message) in [
        (Scheme::EcdsaP256Sha256, "ec-p256", digest, message),
        (Scheme::EcdsaP256Sha256, "ec-p256", b"", message),
        (Scheme::EcdsaP256Sha256, "ec-p256", &digest[1..], b""),
        (Scheme::Ed25519, "ed25519", digest, message),
        (Scheme::Ed25519, "ed25519", digest, b""),
        (Scheme::Ed25519, "ed25519", b"", b""),
        (Scheme::Ed25519, "ed25519", b"", &[0; (32 << 10) + 1]),
    ] {
        refused(label, station.sign_asked(label, scheme, digest, message), "MALFORMED_REQUEST");
    }
    station.sign_asked("ed25519", Scheme::Ed25519, b"", &[0; 32 << 10]).unwrap();
    assert_eq!(records(&station, &["--event", "key-use"]).len(), before + 1, "no key was used for what was refused");
}

#[test]
fn commands_sign_export_and_list_keys_of_every_type() {
    let layouts = tempfile::tempdir().unwrap();
    let station = station(&layouts);
    let file = station.state().join("message");
    fs::write(&file, MESSAGE).unwrap();
    let file = file.to_str().unwrap();
    for (label, name, scheme) in [
        ("ec-p256", "ecdsa-p256-sha256", Scheme::EcdsaP256Sha256),
        ("ec-p384", "ecdsa-p384-sha384", Scheme::EcdsaP384Sha384),
        ("ed25519", "ed25519", Scheme::Ed25519),
    ] {
        let signed = output(&mut station.socket_command(&["sign", "--key", label, "--scheme", name, file, "--output", "json"]));
        let signature = const_hex::decode(last_line(&signed)["signature"].as_str().unwrap()).unwrap();
        assert!(verifies(&public_key(&station, label), scheme, MESSAGE, &signature), "{label}");

        let jwk: Value =
            serde_json::from_str(&output(&mut station.socket_command(&["key", "export", label, "--format", "jwk"]))).unwrap();
        let crv = match scheme {
            Scheme::Ed25519 => ("OKP", "Ed25519"),
            Scheme::EcdsaP256Sha256 => ("EC", "P-256"),
            _ => ("EC", "P-384"),
        };
        assert_eq!((jwk["kty"].as_str(), jwk["crv"].as_str()), (Some(crv.0), Some(crv.1)), "{jwk}");
    }
    let digest = station.socket_command(&["sign", "--key", "ed25519", "--scheme", "ed25519", "--digest", "00"]).output().unwrap();
    assert_eq!(digest.status.code(), Some(2));
    let listed = output(&mut station.socket_command(&["key", "list"]));
    for shown in ["RSA-2048", "EC P-256", "EC P-384", "Ed25519"] {
        assert!(listed.contains(shown), "{listed}");
    }
}

#[test]
fn the_longest_message_is_signed_by_a_token_in_a_process_of_its_own() {
    let layouts = tempfile::tempdir().unwrap();
    let station = station_and(&layouts, |config| set(config, "token", "isolation", "process"));
    let message = [0xa5; 32 << 10];
    let signature = station.sign_asked("ed25519", Scheme::Ed25519, b"", &message).unwrap();
    assert!(verifies(&public_key(&station, "ed25519"), Scheme::Ed25519, &message, &signature));
    let signature = station.sign("ec-p384", Scheme::EcdsaP384Sha384, &sha384(&message)).unwrap();
    assert!(verifies(&public_key(&station, "ec-p384"), Scheme::EcdsaP384Sha384, &message, &signature));
    let refusal = refused("type", station.sign("ec-p256", Scheme::RsaPssSha256, &[1; 32]), "MECHANISM_UNSUPPORTED");
    assert!(refusal.message.contains("needs an RSA key"), "{refusal:?}");
}

/// The state of a component, and its reason.
fn component(station: &Station, name: &str) -> (bool, String) {
    let mut client = StatusServiceClient::new(station.unix());
    let told = block_on(client.get_status(GetStatusRequest {})).unwrap().into_inner();
    let found = told.components.into_iter().find(|component| component.name == name).unwrap();
    (told.serving, found.reason)
}

#[test]
fn a_train_key_that_is_not_rsa_is_refused_at_the_start_and_by_health_with_the_remedy() {
    let layouts = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").layouts(layouts.path()).start();
    // Its key is replaced while it runs.
    for kind in ["privkey", "pubkey"] {
        let deleted = Command::new("pkcs11-tool")
            .env("SOFTHSM2_CONF", station.softhsm_conf())
            .args(["--module", softhsm().to_str().unwrap(), "--token-label", "stationmaster-dev", "--login", "--pin"])
            .args([&station.pin(), "--delete-object", "--type", kind, "--label", "a"])
            .output()
            .unwrap();
        assert!(deleted.status.success(), "{deleted:?}");
    }
    station.generate_key("a", "general", "ec-p256");
    let said =
        |reason: &str| ["\"a\" is EC P-256", "trains need an RSA key", "key generate"].iter().all(|part| reason.contains(part));
    wait_for("health to name the key's type", || {
        let (serving, reason) = component(&station, "keys");
        (!serving && said(&reason)).then_some(())
    });
    station.stop();
    station.configure(|_| {});
    station.spawn();
    assert_eq!(station.wait().code(), Some(2), "{}", station.log());
    let log = station.log();
    assert!(log.lines().any(|line| line.starts_with("error: ") && said(line)), "{log}");
}
