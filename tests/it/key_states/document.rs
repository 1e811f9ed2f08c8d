//! The commands of docs/key-rotation.md, as they are typed.

use std::{fs, process::Command};

use super::train_for;
use crate::support::{
    Engine, PROGRAM, Station, set,
    tamper::{RESULTS, refused, run_script},
};

const PAGE: &str = include_str!("../../../docs/key-rotation.md");
const CONFIG: &str = "/etc/stationmaster/stationmaster.toml";

/// The blocks of a section, in their order.
fn blocks(heading: &str) -> Vec<String> {
    let section = PAGE.split(&format!("\n## {heading}\n")).nth(1).expect(heading).split("\n## ").next().unwrap();
    let (mut blocks, mut open) = (Vec::<String>::new(), false);
    for line in section.lines() {
        let is_block = line.starts_with("    ");
        if is_block && !open {
            blocks.push(String::new());
        }
        if is_block {
            *blocks.last_mut().unwrap() += &format!("{}\n", line.trim_start());
        }
        open = is_block;
    }
    blocks
}

/// Types a block at the station, in its state directory, with this configuration. Returns what it prints.
#[track_caller]
fn types(station: &Station, block: &str, config: &str) -> String {
    assert!(block.contains(CONFIG), "{block}");
    let path = format!("{}:{}", std::path::Path::new(PROGRAM).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.env("PATH", path).env("SOFTHSM2_CONF", station.softhsm_conf()).current_dir(station.state());
    let typed = shell.args(["-euc", &block.replace(CONFIG, station.state().join(config).to_str().unwrap())]).output().unwrap();
    let said = String::from_utf8_lossy(&typed.stdout).into_owned();
    assert!(typed.status.success(), "{block}: {said} {}", String::from_utf8_lossy(&typed.stderr));
    said
}

#[track_caller]
fn passes(station: &Station, label: &str) {
    let train = train_for(station, label);
    let run = station.pre_run(&train.image).unwrap_or_else(|refusal| panic!("{label}: {refusal:?}"));
    run_script(&Engine::connect(), &train.image, RESULTS);
    station.post_run(&run.run_id).unwrap();
    assert_eq!(train.open(&[]).stops_signed, 1, "{label}");
}

#[track_caller]
fn rejects(station: &Station, label: &str) {
    let train = train_for(station, label);
    refused(label, station.pre_run(&train.image), "ROUTE_REJECTED");
}

#[test]
fn the_page_about_replacing_a_train_key_works_as_it_is_typed() {
    let mut station = Station::with("station-1").start();
    station.stop();
    let (old, new) = ("station-1", "station-1-2027");
    // The other station has a trust file.
    station.configure(|config| drop(config.remove("trust")));
    fs::copy(station.state().join("test.toml"), station.state().join("other.toml")).unwrap();
    station.configure(|config| set(config, "keys", "train", vec![toml::Value::from(old)]));
    station.start_again();

    let mut here = blocks("At the station").into_iter();
    let mut next = || here.next().expect("a block");
    types(&station, &next(), "test.toml");
    let keys: toml::Table = next().parse().expect("TOML");
    station.configure(|config| set(config, "keys", "train", keys["keys"]["train"].clone()));
    assert_eq!(next(), "systemctl restart stationmaster\n");
    station.stop();
    station.start_again();
    rejects(&station, new);
    let fingerprint = station.key(new).unwrap().fingerprint;
    assert!(types(&station, &next(), "test.toml").contains(&fingerprint), "the fingerprint to be noted");
    let sent = fs::read_to_string(station.state().join("station-1-2027.hex")).unwrap();
    assert_eq!(sent.trim_end(), station.key(new).unwrap().public_key_hex_pem);
    types(&station, &next(), "test.toml");
    assert_eq!(here.next(), None);
    passes(&station, new);
    passes(&station, old);

    let [trusts] = &blocks("At the registry and the other stations")[..] else { panic!("one block") };
    assert!(types(&station, trusts, "other.toml").contains(&fingerprint), "the fingerprint to be compared");

    let end = blocks("The end of the old key");
    let [shows, retires, audit] = &end[..] else { panic!("three blocks: {end:?}") };
    assert!(types(&station, shows, "test.toml").contains("superseded"));
    types(&station, retires, "test.toml");
    rejects(&station, old);
    passes(&station, new);
    assert!(types(&station, audit, "test.toml").contains("replaced"));
}
