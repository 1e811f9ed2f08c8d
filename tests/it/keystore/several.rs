//! `[[token]]`: a station with two tokens serves a key while either has it, and its health names the other.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use openssl::{pkey::PKey, rsa::Rsa};
use stationmaster_proto::SignatureScheme;

use super::isolation;
use crate::support::{Station, token::softhsm, wait_for};

const LABELS: [&str; 3] = ["a", "a-general", "audit"];

fn softhsm_util(station: &Station, arguments: &[&str]) {
    let done = Command::new("softhsm2-util").env("SOFTHSM2_CONF", station.softhsm_conf()).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Makes two tokens with the same keys, as a restore from a backup does.
fn tokens_with_the_same_keys(station: &Station, tokens: [&str; 2]) {
    let (directory, pin) = (tempfile::tempdir().unwrap(), station.pin());
    for token in tokens {
        softhsm_util(station, &["--init-token", "--free", "--label", token, "--pin", &pin, "--so-pin", "so-pin-42"]);
    }
    for (at, label) in LABELS.iter().enumerate() {
        let pem = directory.path().join("key.pem");
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        fs::write(&pem, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        for token in tokens {
            let (pem, id) = (pem.to_str().unwrap(), format!("0{at}"));
            // A key is its public key, whatever label a token has for it.
            let label = if (token, *label) == ("south", "a-general") { "a-general-of-2024" } else { label };
            softhsm_util(station, &["--import", pem, "--token", token, "--pin", &pin, "--label", label, "--id", &id]);
        }
    }
}

/// The directory of a SoftHSM token, by its label.
fn directory_of(station: &Station, label: &str) -> std::path::PathBuf {
    let conf = fs::read_to_string(station.softhsm_conf()).unwrap();
    let tokens = conf.lines().find_map(|line| line.strip_prefix("directories.tokendir = ")).unwrap();
    let has_label = |directory: &Path| {
        let object = fs::read(directory.join("token.object")).unwrap_or_default();
        object.windows(label.len()).any(|part| part == label.as_bytes())
    };
    fs::read_dir(tokens).unwrap().map(|entry| entry.unwrap().path()).find(|directory| has_label(directory)).unwrap()
}

#[test]
fn a_key_is_named_by_its_label_or_by_its_uri_and_a_uri_of_another_key_is_refused() {
    let station = Station::start("a");
    let uri = station.key("a-general").unwrap().uris.remove(0);
    let sign = |name: &str| station.sign(name, SignatureScheme::RsaPssSha512, &[7; 64]);
    for name in [&uri, "pkcs11:object=a-general", "pkcs11:token=stationmaster-dev;object=a-general"] {
        sign(name).unwrap();
        assert_eq!(station.key(name).unwrap().label, "a-general");
    }
    let serial_of_another = uri.replace("serial=", "serial=0");
    for (name, reason) in [
        (serial_of_another.as_str(), "KEY_NOT_FOUND"),
        ("pkcs11:object=a-general;id=%00", "KEY_NOT_FOUND"),
        // A train's key does not become a general one by its name.
        ("pkcs11:object=a", "KEY_NOT_ALLOWED"),
        ("pkcs11:token=stationmaster-dev", "MALFORMED_REQUEST"),
        ("pkcs11:object=a-general?pin-value=1", "MALFORMED_REQUEST"),
    ] {
        assert_eq!(sign(name).unwrap_err().reason, reason, "{name}");
    }
    let shown = station.client_command(&["key", "show", &uri, "--output", "json"]).output().unwrap();
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains(&uri), "{shown:?}");
}

#[test]
fn a_station_with_two_tokens_serves_while_either_is_there_and_says_which_is_away() {
    let mut station = Station::start("a");
    station.stop();
    tokens_with_the_same_keys(&station, ["north", "south"]);
    // Another library to the loader, as another vendor's would be.
    let copy = station.state().join("other.so");
    fs::copy(softhsm(), &copy).unwrap();
    station.configure(|config| {
        let Some(toml::Value::Table(mut north)) = config.remove("token") else { panic!("no token") };
        let mut south = north.clone();
        north.insert("label".into(), "north".into());
        south.insert("uri".into(), "pkcs11:token=south".into());
        south.remove("label");
        south.insert("module".into(), copy.to_str().unwrap().into());
        // So that one of the two kinds is in a process of its own.
        south.insert("isolation".into(), "process".into());
        config.insert("token".into(), vec![north, south].into());
    });
    station.start_again();
    let sign = || station.sign("a-general", SignatureScheme::RsaPssSha512, &[7; 64]);
    let uris = wait_for("both tokens", || Some(station.key("a-general").unwrap().uris).filter(|uris| uris.len() == 2));
    assert!(uris.iter().any(|uri| uri.contains("object=a-general-of-2024;")), "{uris:?}");
    let on = |token: &str| uris.iter().filter(|uri| uri.starts_with(&format!("pkcs11:token={token};"))).count();
    assert_eq!((uris.len(), on("north"), on("south")), (2, 1, 1), "{uris:?}");
    for away in ["north", "south"] {
        let (directory, aside) = (directory_of(&station, away), station.state().join("aside"));
        fs::rename(&directory, &aside).unwrap();
        for _ in 0..6 {
            sign().unwrap();
        }
        wait_for("a warning that names the token", || {
            let health = station.socket_command(&["health", "--output", "json"]).output().unwrap();
            let said = String::from_utf8(health.stdout).unwrap();
            (health.status.success() && said.contains(&format!("the token \\\"{away}\\\" is away"))).then_some(())
        });
        sign().unwrap();
        fs::rename(&aside, &directory).unwrap();
        wait_for("health without a warning", || {
            let health = station.socket_command(&["health", "--output", "json"]).output().unwrap();
            let said = String::from_utf8(health.stdout).unwrap();
            (health.status.success() && !said.contains("is away")).then_some(())
        });
    }
}

#[test]
fn no_call_is_lost_when_the_process_of_one_of_two_tokens_is_killed_under_load() {
    const KILLS: usize = 8;
    let mut station = Station::start("a");
    station.stop();
    tokens_with_the_same_keys(&station, ["north", "south"]);
    station.configure(|config| {
        let Some(toml::Value::Table(mut north)) = config.remove("token") else { panic!("no token") };
        north.insert("isolation".into(), "process".into());
        let mut south = north.clone();
        north.insert("label".into(), "north".into());
        south.insert("label".into(), "south".into());
        config.insert("token".into(), vec![north, south].into());
    });
    station.start_again();
    let both = || wait_for("two processes", || Some(isolation::workers_of(&station)).filter(|found| found.len() == 2));
    let stays = both()[0];
    let (ended, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let lost = std::thread::scope(|scope| {
        let (station, ended, calls) = (&station, &ended, &calls);
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut lost = Vec::new();
                    while !ended.load(Ordering::Relaxed) {
                        calls.fetch_add(1, Ordering::Relaxed);
                        lost.extend(station.sign("a-general", SignatureScheme::RsaPssSha512, &[7; 64]).err());
                    }
                    lost
                })
            })
            .collect();
        for kill in 0..KILLS {
            let other = both().into_iter().find(|process| *process != stays).expect("the other token's process");
            // Calls are under way, and both tokens serve.
            let before = calls.load(Ordering::Relaxed);
            wait_for("calls", || (calls.load(Ordering::Relaxed) > before + 16).then_some(()));
            isolation::kill(other, "-KILL");
            wait_for("another process", || {
                let found = isolation::workers_of(station);
                (found.len() == 2 && !found.contains(&other)).then_some(())
            });
            assert!(isolation::workers_of(station).contains(&stays), "kill {kill} ended both");
        }
        ended.store(true, Ordering::Relaxed);
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    let calls = calls.into_inner();
    println!("{KILLS} kills of one of two tokens' processes: {} of {calls} calls lost", lost.len());
    assert!(lost.is_empty(), "{} of {calls} calls were lost: {:?}", lost.len(), lost.first().map(|refused| &refused.reason));
}
