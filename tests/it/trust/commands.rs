//! `stationmaster trust`: an administrator's changes of the trust file.

use std::{fs, process::Command};

use serde_json::Value;

use super::fingerprint;
use crate::{
    cli::{last_line, output, said},
    support::{Engine, PROGRAM, Station, Train, tamper::Rootfs},
};

struct Office {
    directory: tempfile::TempDir,
}

impl Office {
    fn at(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(["trust"]).args(arguments).args(["--file", &self.at("trust.toml")]).stdin(std::process::Stdio::null());
        command
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        last_line(&output(self.command(arguments).args(["--output", "json"])))
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], exit: i32, hint: &str) {
        let done = self.command(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(exit), "{arguments:?}: {}", said(&done));
        assert!(said(&done).contains(hint), "{arguments:?}: {}", said(&done));
    }
}

#[test]
fn keys_and_masters_are_added_listed_shared_and_removed() {
    let office = Office { directory: tempfile::tempdir().unwrap() };
    let station = Station::start("a");
    let (first, second) = (station.hex_pem(), station.key("a-general").unwrap().public_key_hex_pem);
    let pem = office.at("key.pem");
    fs::write(&pem, const_hex::decode(&first).unwrap()).unwrap();
    office.fails(&["list"], 3, "trust add");

    let added = office.json(&["add", "creator", "007", "--key", &pem, "--comment", "by phone"]);
    assert_eq!((&added["added"][0]["id"], &added["added"][0]["fingerprint"]), (&"7".into(), &fingerprint(&first).into()));
    office.json(&["add", "station", "b", "--key", &first]);
    office.json(&["add", "station", "b", "--key", &second]);
    office.json(&["add", "master", "harbor.example/master/python"]);
    // The same again changes nothing, and is no failure: a station may be set up more than once.
    let before = fs::read(office.at("trust.toml")).unwrap();
    for (again, field) in [
        (&["add", "creator", "7", "--key", &pem][..], "fingerprint"),
        (&["add", "station", "b", "--key", &second], "fingerprint"),
        (&["add", "master", "harbor.example/master/python"], "repository"),
    ] {
        let told = office.json(again);
        assert_eq!(told["added"], Value::Array(Vec::new()), "{told}");
        assert!(told["present"][0][field].is_string(), "{told}");
        assert!(output(&mut office.command(again)).starts_with("Already in "));
    }
    assert_eq!(fs::read(office.at("trust.toml")).unwrap(), before);
    office.fails(&["add", "creator", "7", "--key", &second], 5, "trust remove");
    office.fails(&["add", "station", "c", "--key", &office.at("absent.pem")], 3, "absent.pem");
    office.fails(&["add", "station", "c", "--key", &"00".repeat(300)], 2, "2048");
    office.fails(&["add", "master", "python:latest"], 2, "a tag can be moved");

    let listed = office.json(&["list"]);
    let kinds: Vec<_> = listed["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["creator", "station", "station", "master"]);
    assert_eq!(listed["entries"][0]["comment"], "by phone");
    let table = output(&mut office.command(&["list"]));
    assert!(table.contains("FINGERPRINT") && table.contains(&fingerprint(&second)), "{table}");

    let bundle = output(&mut office.command(&["export"]));
    assert!(bundle.contains(&fingerprint(&second)) && !bundle.contains("by phone"), "{bundle}");
    fs::write(office.at("bundle.toml"), &bundle).unwrap();
    let other = Office { directory: tempfile::tempdir().unwrap() };
    other.fails(&["import", &office.at("bundle.toml")], 2, "--yes");
    let taken = other.json(&["import", &office.at("bundle.toml"), "--yes"]);
    assert_eq!(taken["added"].as_array().unwrap().len(), 4);
    assert_eq!(other.json(&["import", &office.at("bundle.toml")])["added"], Value::Array(Vec::new()));

    office.fails(&["remove", "station", "b"], 2, "--fingerprint");
    office.json(&["remove", "station", "b", "--fingerprint", &fingerprint(&first)]);
    office.json(&["remove", "station", "b"]);
    office.json(&["remove", "master", "harbor.example/master/python"]);
    office.fails(&["remove", "station", "b"], 3, "trust list");
    assert_eq!(office.json(&["verify"])["stations"], 0);
    fs::write(office.at("trust.toml"), "version = 1\nnobody = 1\n").unwrap();
    office.fails(&["verify"], 2, ":2:");
}

#[test]
fn a_trains_keys_are_imported_only_on_explicit_request() {
    let office = Office { directory: tempfile::tempdir().unwrap() };
    let (first, second) = (Station::start("a"), Station::start("b"));
    let train = Train::of(&[first.seat(), second.seat()]).make();
    let config = office.at("train_config.json");
    fs::write(&config, Rootfs::of(&Engine::connect(), &train.image).config().to_string()).unwrap();

    office.fails(&["import", &config], 2, "compare every fingerprint");
    assert!(!fs::exists(office.at("trust.toml")).unwrap(), "keys were imported without a comparison");
    let taken = office.json(&["import", &config, "--yes", "--comment", "study 12"]);
    let fingerprints: Vec<_> =
        taken["added"].as_array().unwrap().iter().map(|entry| entry["fingerprint"].as_str().unwrap().to_owned()).collect();
    let expected = [&train.creator().hex_pem, &first.hex_pem(), &second.hex_pem()].map(|key| fingerprint(key));
    assert_eq!(fingerprints, expected);
    assert_eq!(office.json(&["verify", &config])["trusted"], true);

    office.json(&["remove", "station", "b"]);
    office.fails(&["verify", &config], 4, "1 of the train's 3 keys");
    // The station's own entry is compared with its token, and need not be in the file.
    let own = office.json(&["verify", &config, "--station", "b"]);
    assert_eq!((&own["trusted"], &own["keys"][2]["verdict"]), (&true.into(), &"own".into()));
    // Another creator's key for the same id stops the whole import.
    let other = Train::of(&[first.seat(), second.seat()]).make();
    fs::write(&config, Rootfs::of(&Engine::connect(), &other.image).config().to_string()).unwrap();
    office.fails(&["import", &config, "--yes"], 5, "confirm the new key with the creator");
    assert_eq!(office.json(&["verify"])["stations"], 1);
}
