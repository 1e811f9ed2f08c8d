//! `docs/tokens.md`: its settings are configurations, and its steps for NSS make a station's token.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use stationmaster::config::Config;

use crate::{
    cli::said,
    support::{PROGRAM, token::softhsm},
};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tokens.md")).expect("the page")
}

/// The indented blocks of the page, without the indent.
fn blocks(page: &str) -> Vec<String> {
    let (mut blocks, mut block) = (Vec::new(), String::new());
    for line in page.lines().chain([""]) {
        match line.strip_prefix("    ") {
            Some(line) => block += &format!("{line}\n"),
            None if block.is_empty() => {}
            None => blocks.push(std::mem::take(&mut block)),
        }
    }
    blocks
}

/// A station's configuration with a block of the page.
fn configuration(directory: &Path, block: &str) -> String {
    format!(
        "station = \"station-1\"\n[state]\ndirectory = {:?}\n[listen]\nunix = {:?}\n{block}\n",
        directory.join("state"),
        directory.join("api.sock"),
    )
}

#[test]
fn every_block_of_settings_is_a_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let settings: Vec<_> = blocks(&page()).into_iter().filter(|block| block.contains("[token]")).collect();
    assert_eq!(settings.len(), 4, "{settings:?}");
    for block in settings {
        fs::write(&file, configuration(directory.path(), &block)).unwrap();
        let config = Config::load(&file).unwrap_or_else(|error| panic!("{error}:\n{block}"));
        let given: toml::Table = block.parse().unwrap();
        let given = given["token"].as_table().unwrap();
        let token = &config.tokens.all()[0];
        assert_eq!(token.module.to_str(), given["module"].as_str());
        assert_eq!(token.label.as_deref(), given["label"].as_str());
        assert_eq!(token.module_init_args.as_deref(), given.get("module_init_args").and_then(toml::Value::as_str));
        let number = given.get("sessions").and_then(toml::Value::as_integer).unwrap_or(0);
        assert_eq!(i64::try_from(token.sessions).unwrap(), number);
        assert_eq!(token.allow_raw_sign, given.get("allow_raw_sign").is_some());
    }
}

/// The only line of the page's blocks that begins so, in words.
fn line(page: &str, begin: &str) -> Vec<String> {
    let all = blocks(page).concat();
    let found: Vec<_> = all.lines().filter(|line| line.starts_with(begin)).collect();
    assert_eq!(found.len(), 1, "{begin}: {found:?}");
    found[0].split(' ').map(str::to_owned).collect()
}

fn secret(file: &str, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn run(words: &[String]) {
    let done = Command::new(&words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(done.status.success(), "{words:?}: {}", said(&done));
}

#[test]
fn the_steps_for_nss_make_a_token_with_a_trains_key() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let page = page();
    let here = |text: &str| {
        text.replace("/var/lib/station-nss", &at("nss"))
            .replace("/run/station-nss-pin", &at("pin"))
            .replace("/etc/stationmaster/stationmaster.toml", &at("c.toml"))
    };
    fs::create_dir(at("nss")).unwrap();
    fs::create_dir(at("state")).unwrap();
    secret(&at("pin"), "a-pin-42\n");
    run(&line(&page, "certutil ").iter().map(|word| here(word)).collect::<Vec<_>>());
    let block = blocks(&page).into_iter().find(|block| block.contains("NSS Certificate DB")).expect("NSS's settings");
    let block = format!("{}pin_file = {:?}\n", here(&block), at("pin"));
    fs::write(at("c.toml"), configuration(directory.path(), &block)).unwrap();
    let mut generate: Vec<_> = line(&page, "stationmaster key generate ").iter().map(|word| here(word)).collect();
    generate[0] = PROGRAM.to_owned();
    run(&generate);
    let list = [PROGRAM, "key", "list", "--config", &at("c.toml")].map(str::to_owned);
    let listed = Command::new(&list[0]).args(&list[1..]).output().unwrap();
    assert!(listed.status.success() && said(&listed).contains("train"), "{}", said(&listed));
}

#[test]
fn the_commands_with_the_programs_own_initialisation_make_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let conf = stationmaster_keystore::softhsm::write_conf(&directory.path().join("softhsm")).unwrap();
    secret(&at("pin"), "a-pin-42\n");
    secret(&at("so-pin"), "so-pin-42\n");
    let page = page();
    let on_softhsm = |word: &String| match word.starts_with('/') {
        true => softhsm().to_str().unwrap().to_owned(),
        false => word.clone(),
    };
    let mut init: Vec<_> = line(&page, "stationmaster token init ").iter().map(on_softhsm).collect();
    init.extend(["--pin-file".to_owned(), at("pin"), "--so-pin-file".to_owned(), at("so-pin")]);
    let done = Command::new(PROGRAM).env("SOFTHSM2_CONF", &conf).args(&init[1..]).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));

    let block = blocks(&page).into_iter().find(|block| block.contains("libtpm2")).expect("a TPM's settings");
    let block: String = block.lines().filter(|line| !line.starts_with("module")).map(|line| format!("{line}\n")).collect();
    let block = format!("{block}module = {:?}\npin_file = {:?}\n", softhsm(), at("pin"));
    fs::create_dir(at("state")).unwrap();
    fs::write(at("c.toml"), configuration(directory.path(), &block)).unwrap();
    let mut replace = line(&page, "stationmaster pin unblock ");
    replace.iter_mut().filter(|word| word.ends_with(".toml")).for_each(|word| *word = at("c.toml"));
    replace.extend(["--so-pin-file".to_owned(), at("so-pin")]);
    let done = Command::new(PROGRAM).env("SOFTHSM2_CONF", &conf).args(&replace[1..]).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
}
