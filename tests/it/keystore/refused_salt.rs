//! A token that refuses PSS with the salt of trains, as a TPM does: SoftHSM through the fault module.

use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};
use stationmaster_proto::SignatureScheme;

use crate::support::{Launch, Mode, Peer, Station, Train, set, tamper::refused, token::softhsm};

/// Makes a station whose train key has this size, and whose token refuses the longest salt of keys of another size.
fn on_such_a_token(
    launch: Launch,
    bits: u32,
    refused_bits: u32,
    change: impl FnOnce(&mut toml::Table),
) -> (Station, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let fault = FaultModule::create(&directory.path().join("fault"), &softhsm()).unwrap();
    let salt = refused_bits / 8 - 66;
    fault.set(&format!("C_SignInit[CKM_RSA_PKCS_PSS,{salt}] every before return CKR_MECHANISM_PARAM_INVALID")).unwrap();
    let mut station = launch.bits(bits).start();
    station.stop();
    station.set_env(VARIABLE, fault.directory().to_str());
    station.configure(|config| {
        set(config, "token", "module", FaultModule::library().unwrap().to_str().unwrap());
        change(config);
    });
    (station, directory)
}

fn allow_raw_sign(config: &mut toml::Table) {
    set(config, "token", "allow_raw_sign", true);
}

#[test]
fn trains_are_signed_through_raw_rsa_when_the_configuration_allows_it() {
    for (version, bits) in [("2.0.5", 2048), ("2.0.6a0", 3072)] {
        let (mut station, _directory) = on_such_a_token(Station::with("a"), bits, bits, allow_raw_sign);
        station.start_again();
        let key = station.key("a").unwrap();
        assert_eq!(key.capabilities["RSA_PSS_SHA512_MAX_SALT"], "raw", "{:?}", key.capabilities);
        let directory = tempfile::tempdir().unwrap();
        let next = Peer::new(version).station("b", 2048, directory.path());
        let next_seat = crate::support::Seat { id: next.id.clone(), hex_pem: next.hex_pem.clone() };
        let train = Train::of(&[station.seat(), next_seat]).make();
        let run = station.pre_run(&train.image).unwrap();
        Peer::new(version).run_train(&train.image, Mode::Commit, &[]);
        station.post_run(&run.run_id).unwrap();
        assert_eq!(train.open(&[]).files, train.expected_results(1));
        // train_lib verifies the signatures of our stop before it opens the train.
        next.pre_run(&train.image).unwrap();
        Peer::new(version).run_train(&train.image, Mode::Commit, &[]);
        next.post_run(&train.image).unwrap();
        let opened = train.open(&[]);
        assert_eq!((opened.stops_signed, opened.files), (2, train.expected_results(2)));
    }
}

#[test]
fn the_setting_counts_for_a_module_in_a_process_of_its_own() {
    let (mut station, _directory) = on_such_a_token(Station::with("a"), 2048, 2048, |config| {
        allow_raw_sign(config);
        set(config, "token", "isolation", "process");
        // The fault module reaches SoftHSM by itself: its tokens are not known to be there.
        set(config, "token", "sandbox", false);
    });
    station.start_again();
    assert_eq!(station.key("a-general").unwrap().capabilities["RSA_PSS_SHA512_MAX_SALT"], "raw");
    // The service verifies the signature before it answers.
    station.sign("a-general", SignatureScheme::RsaPssSha512MaxSalt, &[1; 64]).unwrap();
}

#[test]
fn without_the_setting_the_service_does_not_start_and_names_it() {
    let (mut station, _directory) = on_such_a_token(Station::with("a"), 2048, 2048, |_| {});
    station.spawn();
    assert_eq!(station.wait().code(), Some(2));
    let log = station.log();
    let said = log.lines().any(|line| {
        line.contains("RSA_PSS_SHA512_MAX_SALT")
            && line.contains("refuses PSS")
            && line.contains("`allow_raw_sign = true` in [token]")
    });
    assert!(said, "{log}");
}

#[test]
fn without_the_setting_a_general_key_is_refused_the_scheme_and_keeps_the_others() {
    let (mut station, _directory) = on_such_a_token(Station::with("a"), 3072, 2048, |_| {});
    station.start_again();
    let sign = |scheme, digest: &[u8]| station.sign("a-general", scheme, digest);
    let answer = refused("the salt", sign(SignatureScheme::RsaPssSha512MaxSalt, &[1; 64]), "MECHANISM_UNSUPPORTED");
    assert!(!answer.message.is_empty());
    sign(SignatureScheme::RsaPssSha512, &[1; 64]).expect("the token does it");
}

#[test]
fn an_audit_key_that_cannot_sign_checkpoints_keeps_the_service_from_starting() {
    // With raw RSA allowed it can; a key of 2048 bits, unlike the train key, is refused PSS altogether.
    let start = |rules: &str, allowed: bool| {
        let directory = tempfile::tempdir().unwrap();
        let fault = FaultModule::create(&directory.path().join("fault"), &softhsm()).unwrap();
        fault.set(rules).unwrap();
        let mut station = Station::with("a").bits(3072).start();
        station.stop();
        station.set_env(VARIABLE, fault.directory().to_str());
        station.configure(|config| {
            set(config, "token", "module", FaultModule::library().unwrap().to_str().unwrap());
            set(config, "token", "allow_raw_sign", allowed);
        });
        station.spawn();
        (station, directory)
    };
    // The checkpoints' scheme, PSS with SHA-256 and a salt of its length; trains have another one.
    let (mut station, _directory) =
        start("C_SignInit[CKM_RSA_PKCS_PSS,32] every before return CKR_MECHANISM_PARAM_INVALID", false);
    assert_eq!(station.wait().code(), Some(2));
    let log = station.log();
    assert!(log.contains("cannot sign checkpoints") && log.contains("allow_raw_sign"), "{log}");
}
