//! The service's TLS key in its token: what clients, files and records show of it, and what a flood of clients may take of the token.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};
use rustix::process::Signal;
use serde_json::Value;
use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};
use stationmaster_proto::{ListKeysRequest, SignatureScheme, key_service_client::KeyServiceClient};
use tonic::transport::Channel;
use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use crate::{
    access::principals::{Authority, grant, listen, me, over_tls},
    audit::evidence::records,
    cli::said,
    keystore::away::hide_keys,
    support::{PROGRAM, Station, block_on, set, token::softhsm, wait_for},
};

const URI: &str = "spiffe://hospital.example/airflow";
const LABEL: &str = "front-door";
const SCHEME: SignatureScheme = SignatureScheme::RsaPssSha256;

/// A command of an administrator on the station's token.
fn command(station: &Station, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--state").arg(station.state());
    command.output().unwrap()
}

#[track_caller]
fn done(output: &Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", said(output));
    output.stdout.clone()
}

/// A public key of the token, to be certified.
struct OfToken(Vec<u8>, &'static rcgen::SignatureAlgorithm);

impl rcgen::PublicKeyData for OfToken {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.1
    }
}

/// A server's certificate for a key of the token.
fn certificate(station: &Station, authority: &Authority, label: &str) -> String {
    let der = done(&command(station, &["key", "export", "--format", "der", label]));
    let (_, spki) = SubjectPublicKeyInfo::from_der(&der).unwrap();
    let algorithm = match spki.parsed().unwrap() {
        PublicKey::RSA(_) => &rcgen::PKCS_RSA_SHA256,
        PublicKey::EC(point) if point.key_size() == 256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        PublicKey::EC(_) => &rcgen::PKCS_ECDSA_P384_SHA384,
        _ => &rcgen::PKCS_ED25519,
    };
    let key = OfToken(spki.subject_public_key.data.to_vec(), algorithm);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    authority.certify(params, &key)
}

/// A station, not running, whose configuration names a key of its token for TLS. There is no key of the service in a file.
fn prepared(authority: &Authority, change: impl FnOnce(&mut toml::Table)) -> (Station, String) {
    prepared_with(authority, &["--bits", "2048"], change)
}

/// The same, with a key of another type.
fn prepared_with(authority: &Authority, key: &[&str], change: impl FnOnce(&mut toml::Table)) -> (Station, String) {
    let mut station = Station::start("a");
    station.stop();
    done(&command(&station, &[&["key", "generate", LABEL, "--purpose", "tls"], key].concat()));
    fs::remove_dir_all(station.state().join("pki")).unwrap();
    let mut address = String::new();
    station.configure(|config| {
        let state = PathBuf::from(config["state"]["directory"].as_str().unwrap());
        address = listen(&state, authority, config);
        let tcp = config["listen"]["tcp"].as_table_mut().unwrap();
        tcp.insert("key".into(), format!("pkcs11:token=stationmaster-dev;object={LABEL}").into());
        change(config);
    });
    fs::remove_file(station.state().join("tcp/server.key")).unwrap();
    let certified = certificate(&station, authority, LABEL);
    fs::write(station.state().join("tcp/server.pem"), certified).unwrap();
    grant(&station, &[(&me(), &["ListKeys", "GetKey", "Sign", "GetStatus"], Some(&["*"])), (URI, &["ListKeys"], Some(&["*"]))]);
    (station, address)
}

fn serving(authority: &Authority) -> (Station, String) {
    let (mut station, address) = prepared(authority, |_| {});
    station.start_again();
    (station, address)
}

fn asks(channel: &Channel) -> bool {
    block_on(KeyServiceClient::new(channel.clone()).list_keys(ListKeysRequest {})).is_ok()
}

/// The files below a directory that contain a text.
fn files_with(directory: &Path, text: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), text));
        } else if entry.file_type().unwrap().is_file()
            && fs::read(entry.path()).unwrap().windows(text.len()).any(|part| part == text)
        {
            found.push(entry.path());
        }
    }
    found
}

/// Stops the station and verifies its log; returns the last checkpoint.
fn verified(station: &mut Station) -> Value {
    let key = station.state().join("audit.pem");
    fs::write(&key, station.key("audit").unwrap().public_key_pem).unwrap();
    station.stop();
    let log = station.state().join("audit/service");
    let verified = Command::new(PROGRAM).args(["audit", "verify"]).arg(log).arg("--key").arg(&key).output().unwrap();
    done(&verified);
    records(station, &["--event", "checkpoint"]).pop().unwrap()
}

#[test]
fn a_station_whose_tls_key_is_in_its_token_serves_clients_and_has_no_private_key_in_a_file() {
    let authority = Authority::new();
    let (mut station, address) = serving(&authority);
    let client = authority.client(URI);
    for _ in 0..3 {
        assert!(asks(&over_tls(&address, &authority, Some(&client))));
    }
    assert!(!asks(&over_tls(&address, &authority, None)), "a client without a certificate was served");
    assert_eq!(files_with(station.state(), b"PRIVATE KEY"), Vec::<PathBuf>::new());

    // No caller sees or uses it, whatever is granted; commands on the token show what it is for.
    assert!(station.keys().unwrap().iter().all(|key| key.label != LABEL));
    assert_eq!(station.key(LABEL).unwrap_err().reason, "KEY_NOT_FOUND");
    assert_eq!(station.sign(LABEL, SCHEME, &[1; 32]).unwrap_err().reason, "KEY_NOT_FOUND");
    let config = station.state().join("test.toml");
    let shown = Command::new(PROGRAM)
        .args(["--output", "json", "key", "show", LABEL, "--config"])
        .arg(config)
        .env("SOFTHSM2_CONF", station.softhsm_conf())
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&done(&shown)).unwrap();
    assert_eq!(shown["purpose"], "tls", "{shown}");

    let last = verified(&mut station);
    // The records name the key before it is used, count its uses, and have none for each.
    let changed = records(&station, &["--event", "tls-changed"]).pop().unwrap();
    assert_eq!((&changed["key"]["label"], &changed["key"]["purpose"]), (&LABEL.into(), &"tls".into()), "{changed}");
    assert_eq!(changed["key"]["fingerprint"], shown["fingerprint"]);
    assert!(last["about"]["tls"]["signatures"].as_u64().unwrap() >= 4, "{last}");
    assert!(records(&station, &["--event", "key-use"]).iter().all(|record| record["key"]["label"] != LABEL));
    let started = records(&station, &["--event", "service-started"]).pop().unwrap();
    assert!(started["about"]["keys"].as_array().unwrap().contains(&LABEL.into()), "{started}");
}

#[test]
fn the_tls_key_may_be_on_an_elliptic_curve() {
    let authority = Authority::new();
    for key_type in ["ec-p256", "ec-p384", "ed25519"] {
        let (mut station, address) = prepared_with(&authority, &["--type", key_type], |_| {});
        station.start_again();
        let client = authority.client(URI);
        assert!(asks(&over_tls(&address, &authority, Some(&client))), "{key_type}");
        let last = verified(&mut station);
        assert_eq!(last["about"]["tls"]["signatures"], 1, "{key_type}: {last}");
    }
}

#[test]
fn a_certificate_of_another_key_is_refused_at_the_start_and_when_it_is_put_in_place_later() {
    let authority = Authority::new();
    let (mut station, address) = prepared(&authority, |_| {});
    let file = station.state().join("tcp/server.pem");
    let (right, wrong) = (fs::read_to_string(&file).unwrap(), certificate(&station, &authority, "a-general"));
    let words = "server.pem: it is not the certificate of the key ";
    let replace = |text: &str| {
        fs::write(file.with_extension("aside"), text).unwrap();
        fs::rename(file.with_extension("aside"), &file).unwrap();
    };
    replace(&wrong);
    station.spawn();
    assert!(!station.wait().success());
    let log = station.log();
    assert!(log.contains(words) && log.contains(&format!("key export {LABEL} --config FILE")), "{log}");

    replace(&right);
    station.start_again();
    let before = station.log().len();
    replace(&wrong);
    station.signal(Signal::HUP);
    wait_for("a word about it", || station.log()[before..].contains(words).then_some(()));
    wait_for("health", || {
        let health = station.socket_command(&["health"]).output().unwrap();
        (health.status.code() == Some(6) && said(&health).contains(words)).then_some(())
    });
    let client = authority.client(URI);
    assert!(asks(&over_tls(&address, &authority, Some(&client))), "the certificate that was loaded before is not in force");
    replace(&right);
    wait_for("health", || station.health().is_ok_and(|status| status == "SERVING").then_some(()));
}

#[test]
fn handshakes_fail_at_once_while_the_token_is_away_and_work_again_when_it_is_back() {
    let authority = Authority::new();
    let (station, address) = serving(&authority);
    let client = authority.client(URI);
    let connects = || asks(&over_tls(&address, &authority, Some(&client)));
    assert!(connects());
    let bring_back = hide_keys(&station);
    wait_for("the loss", || (!connects()).then_some(()));
    wait_for("health", || {
        let health = station.socket_command(&["health"]).output().unwrap();
        let words = format!("the key \"{LABEL}\" cannot sign, so no client can connect: ");
        (health.status.code() == Some(6) && said(&health).contains(&words)).then_some(())
    });
    assert!(!connects());
    wait_for("a line of the log", || station.log().contains("the token did not sign a TLS handshake").then_some(()));
    bring_back();
    wait_for("the token", || connects().then_some(()));
    wait_for("health", || station.health().is_ok_and(|status| status == "SERVING").then_some(()));
}

#[test]
fn clients_without_a_certificate_take_no_more_of_the_token_than_one_caller_and_fill_no_queue() {
    const CLIENTS: usize = 64;
    const SIGNATURES: usize = 16;
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let fault = FaultModule::create(directory.path(), &softhsm()).unwrap();
    let (mut station, address) = prepared(&authority, |config| {
        let module = FaultModule::library().unwrap();
        set(config, "token", "module", module.to_str().unwrap());
        set(config, "token", "sessions", 1);
        set(config, "token", "queue", 8);
    });
    station.set_env(VARIABLE, fault.directory().to_str());
    station.start_again();
    // Slow enough for a queue.
    fault.set("C_Sign every before delay 10").unwrap();
    let begun = || fault.journal().unwrap().calls("C_SignInit");
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..CLIENTS {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert!(!asks(&over_tls(&address, &authority, None)), "a client without a certificate was served");
                }
            });
        }
        // Ends the clients also when an assertion fails.
        let _end = End(&over);
        let idle = begun();
        wait_for("the flood", || (begun() > idle + CLIENTS).then_some(()));
        let before = begun();
        for _ in 0..SIGNATURES {
            station.sign("a-general", SCHEME, &[1; 32]).expect("a signature during the flood");
        }
        // Callers take turns: before one that comes, a handshake is under way and another one's turn may be next.
        let of_handshakes = begun() - before - SIGNATURES;
        assert!(of_handshakes > 0 && of_handshakes < 6 * SIGNATURES, "{of_handshakes} handshakes beside {SIGNATURES} signatures");
    });
    fault.clear().unwrap();
    let client = authority.client(URI);
    assert!(asks(&over_tls(&address, &authority, Some(&client))), "an honest client is not served after the flood");
    let last = verified(&mut station);
    assert!(last["about"]["tls"]["signatures"].as_u64().unwrap() > CLIENTS as u64, "{last}");
    let of_clients = records(&station, &["--event", "key-use"]).iter().filter(|record| record["operation"] == "sign").count();
    assert_eq!(of_clients, SIGNATURES, "a handshake has a record of its own");
}

/// Sets the flag when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
