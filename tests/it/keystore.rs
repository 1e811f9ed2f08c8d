//! The station's keys: made in the token, never exported, and used no more than the protocol needs.

mod admission;
pub mod away;
mod bad_input;
mod destroyed;
#[cfg(feature = "crash-points")]
mod imported;
mod intents;
mod isolation;
mod made;
mod page;
mod pins;
mod refused_salt;
mod several;
mod shown;

use std::process::{Command, Output};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeInfo, AttributeType, ObjectClass},
    session::UserType,
    types::AuthPin,
};
use stationmaster_proto::KeyPurpose;

use crate::support::{
    Mode, Peer, Station, Train, as_root,
    token::{SpyLog, TokenServer, softhsm, spy},
    wait_for,
};

/// OpenSC's tool on a station's token, logged in.
fn pkcs11_tool(station: &Station, arguments: &[&str]) -> Output {
    Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", station.softhsm_conf())
        .env("TOKEN_PIN", station.pin())
        .arg("--module")
        .arg(softhsm())
        .args(["--token-label", "stationmaster-dev", "--login", "--pin", "env:TOKEN_PIN"])
        .args(arguments)
        .output()
        .expect("pkcs11-tool: run `make test`, which installs it")
}

#[test]
fn the_train_key_is_made_in_the_token_and_never_extractable_according_to_the_service() {
    let station = Station::with("a").bits(4096).makes_token().start();
    let key = station.key("a").unwrap();
    assert_eq!((key.purpose(), key.bits), (KeyPurpose::Train, 4096));
    assert!(key.generated_in_token && key.sensitive && key.never_extractable && !key.extractable, "{key:?}");
}

#[test]
fn the_train_key_is_made_in_the_token_and_never_extractable_according_to_another_tool() {
    let station = Station::with("a").makes_token().start();
    let listed = pkcs11_tool(&station, &["--list-objects", "--type", "privkey"]);
    assert!(listed.status.success(), "{listed:?}");
    let text = String::from_utf8(listed.stdout).unwrap();
    let of_key = text.split("Private Key Object").find(|object| object.lines().any(|line| line.trim() == "label:      a"));
    let access = of_key.and_then(|object| object.lines().find_map(|line| line.trim().strip_prefix("Access:")));
    assert_eq!(access.map(str::trim), Some("sensitive, always sensitive, never extractable, local"), "{text}");

    let public = pkcs11_tool(&station, &["--read-object", "--type", "pubkey", "--label", "a"]);
    assert_eq!(public.stdout, station.key("a").unwrap().public_key_der);
}

#[test]
fn the_pin_alone_cannot_extract_the_train_key() {
    let station = Station::start("a");
    // SAFETY: no other test sets or reads this variable in its own process, and services set their own.
    unsafe { std::env::set_var(stationmaster_keystore::softhsm::CONF_VARIABLE, station.softhsm_conf()) };
    let token = Pkcs11::new(softhsm()).unwrap();
    token.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = token.get_slots_with_initialized_token().unwrap();
    let session = token.open_rw_session(slots[0]).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(station.pin().into()))).unwrap();
    let found = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label("a".into())]).unwrap();
    let [key] = found[..] else { panic!("not one private key: {found:?}") };

    let secret = [AttributeType::PrivateExponent, AttributeType::Prime1, AttributeType::Prime2, AttributeType::Exponent1];
    for (attribute, answer) in secret.iter().zip(session.get_attribute_info(key, &secret).unwrap()) {
        assert!(matches!(answer, AttributeInfo::Sensitive), "{attribute:?} can be read: {answer:?}");
    }
    for weaker in [Attribute::Sensitive(false), Attribute::Extractable(true)] {
        session.update_attributes(key, std::slice::from_ref(&weaker)).expect_err("the key could be weakened");
    }
    let wrapping = session.generate_key(&Mechanism::AesKeyGen, &[Attribute::ValueLen(32.into()), Attribute::Wrap(true)]).unwrap();
    let wrapped = session.wrap_key(&Mechanism::AesKeyWrapPad, wrapping, key);
    assert!(matches!(wrapped, Err(Error::Pkcs11(RvError::KeyUnextractable, _))), "the key could be wrapped: {wrapped:?}");
}

/// Takes a train past a station and counts what that cost on the token.
#[track_caller]
fn costs_one_decryption_and_two_signatures(station: &Station, log: &SpyLog) {
    let train = Train::of(&[station.seat()]).make();
    let before = log.uses();
    let run = station.pre_run(&train.image).unwrap();
    let opened = log.uses();
    Peer::newest().run_train(&train.image, Mode::Commit, &[]);
    station.post_run(&run.run_id).unwrap();
    let closed = log.uses();

    let between = |before: (usize, usize), after: (usize, usize)| (after.0 - before.0, after.1 - before.1);
    assert_eq!(between(before.decryptions, opened.decryptions), (1, 1), "pre-run decrypts once");
    assert_eq!(between(before.signatures, opened.signatures), (0, 0), "pre-run signs nothing");
    assert_eq!(between(opened.decryptions, closed.decryptions), (0, 0), "post-run decrypts nothing");
    assert_eq!(between(opened.signatures, closed.signatures), (2, 2), "post-run signs twice");
    assert_eq!(before.others, closed.others, "no key is used in any other way");
    // The start's own trial was seen, so the counting counts.
    assert!(before.decryptions.1 > 0 && before.signatures.1 > 0, "{before:?}");
    assert_eq!(train.open(&[]).files, train.expected_results(1));
}

#[test]
fn a_pre_run_and_post_run_cost_one_decryption_and_two_signatures_on_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let (log, launch) = SpyLog::on(directory.path().join("spy.log"), Station::with("a"));
    let station = launch.start();
    costs_one_decryption_and_two_signatures(&station, &log);
}

/// Whether a process has SoftHSM, and with it keys, in its memory.
fn has_softhsm(pid: u32) -> bool {
    let maps = as_root("cat").arg(format!("/proc/{pid}/maps")).output().expect("cat, and sudo where the test is not root");
    assert!(maps.status.success(), "the maps of {pid} cannot be read");
    String::from_utf8_lossy(&maps.stdout).contains("libsofthsm2")
}

#[test]
fn a_train_passes_with_the_token_in_another_process() {
    let mut station = Station::start("a");
    station.stop();
    let server = TokenServer::start(&station);
    let log = SpyLog(station.state().join("spy.log"));
    let client = TokenServer::client();
    let path = log.0.to_str().unwrap().to_owned();
    for (name, value) in [
        ("SOFTHSM2_MODULE", spy().as_str()),
        ("PKCS11SPY", &client),
        ("PKCS11SPY_OUTPUT", &path),
        ("P11_KIT_SERVER_ADDRESS", &server.address),
    ] {
        station.set_env(name, Some(value));
    }
    station.start_again();
    assert!(!has_softhsm(station.pid()), "the token is in the service's own process");
    wait_for("a process that holds the token", || server.children().into_iter().find(|pid| has_softhsm(*pid)));
    costs_one_decryption_and_two_signatures(&station, &log);
}
