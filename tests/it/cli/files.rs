//! Files of this machine that commands are given: absent, closed, of another kind, of another client.

use std::{fs, process::Command};

use openssl::{
    asn1::Asn1Time,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{X509, X509Builder, X509NameBuilder},
};

use super::{output, said};
use crate::support::{PROGRAM, Station};

#[test]
fn a_file_that_is_not_there_has_one_exit_code_whatever_it_was_for() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let absent = at("absent");
    for name in ["ca", "cert", "trust"] {
        fs::write(at(name), "version = 1\n").unwrap();
    }
    fs::write(
        at("config.toml"),
        format!(
            "station = \"station-1\"\n[token]\nmodule = {absent:?}\nlabel = \"pht\"\npin_file = {absent:?}\n[keys]\n[state]\ndirectory = {:?}\n\
             [listen]\nunix = {:?}\n",
            at("state"),
            at("api.sock")
        ),
    )
    .unwrap();
    fs::create_dir(at("state")).unwrap();
    let https = ["--address", "https://localhost:1", "--tls-cert", &at("cert"), "--tls-key", &at("cert")];
    let config = at("config.toml");
    let mut wrong = Vec::new();
    for (arguments, extra) in [
        (&["config", "check", "--config", &absent][..], &[][..]),
        (&["serve", "--config", &absent], &[]),
        // Its PIN file.
        (&["key", "list", "--config", &config], &[]),
        (&["run", "list", "--state", &absent], &[]),
        (&["audit", "show", "--state", &absent], &[]),
        (&["audit", "verify", &absent], &[]),
        (&["audit", "verify", &at("ca"), "--key", &absent], &[]),
        (&["trust", "list", "--file", &absent], &[]),
        (&["trust", "import", &absent, "--file", &at("trust")], &[]),
        (&["trust", "verify", &absent, "--file", &at("trust")], &[]),
        (&["trust", "add", "creator", "x", "--key", &absent, "--file", &at("trust")], &[]),
        (&["access", "list", "--file", &absent], &[]),
        (&["token", "init", "--label", "x", "--so-pin-file", &absent, "--module", &at("ca")], &[]),
        (&["sign", "--key", "a", "--scheme", "rsa-pss-sha256", &absent], &[]),
        (&["unwrap", "--key", "a", "--scheme", "rsa-oaep-sha256", &absent, "-o", &at("opened")], &[]),
        (&["train", "verify", "--archive", &absent], &[]),
        (&["train", "verify", "--archive", &at("ca"), "--trust", &absent], &[]),
        (&["train", "inspect", "--place", &absent], &[]),
        (&["hash", "--place", &absent], &[]),
        (&["image", "validate", "--place", &absent, "--master-place", &absent], &[]),
        (&["health", "--tls-ca", &absent], &https),
        (&["state", "restore", &absent, "--state", &at("state")], &[]),
        (&["train", "open", "--key", &at("ca"), "x", "-o", &at("absent/out")], &[]),
    ] {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STATIONMASTER_")) {
            command.env_remove(name);
        }
        let done = command.args(arguments).args(extra).output().unwrap();
        if done.status.code() != Some(3) || !said(&done).contains("absent") {
            wrong.push(format!("{arguments:?}: {}", said(&done)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_empty_variable_is_as_one_that_is_not_set() {
    let mut command = Command::new(PROGRAM);
    for name in ["OUTPUT", "ADDRESS", "CONFIG", "STATE", "TLS_CA", "TLS_CERT", "TLS_KEY", "LOG"] {
        command.env(format!("STATIONMASTER_{name}"), "");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trust.toml");
    fs::write(&file, "version = 1\n").unwrap();
    assert!(output(command.args(["trust", "verify", "--file"]).arg(&file)).contains("is valid"));
}

#[test]
fn a_state_directory_is_found_where_a_development_station_says_it_is() {
    let station = Station::start("a");
    for arguments in [&["run", "list"][..], &["audit", "show"]] {
        output(&mut station.client_command(arguments));
        // A configuration that is named counts for more.
        let done = station.client_command(arguments).args(["--config", "/no/such/configuration"]).output().unwrap();
        assert_eq!(done.status.code(), Some(3), "{}", said(&done));
    }
}

/// A certificate of a key, signed by itself.
fn certificate(key: &PKey<Private>) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", "x").unwrap();
    let subject = subject.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build()
}

#[test]
fn a_key_of_another_kind_is_named_where_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    fs::write(at("private.pem"), key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(at("cert.pem"), certificate(&key).to_pem().unwrap()).unwrap();
    let refused = |arguments: &[&str]| {
        let done = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {}", said(&done));
        said(&done)
    };
    let trust = at("trust.toml");
    let said = refused(&["trust", "add", "creator", "x", "--key", &at("private.pem"), "--file", &trust]);
    assert!(said.contains("is a PRIVATE key") && said.contains("openssl pkey -in") && said.contains("-pubout"), "{said}");
    assert!(!fs::exists(&trust).unwrap());
    let said = refused(&["audit", "verify", &at("cert.pem"), "--key", &at("cert.pem")]);
    assert!(said.contains("is a certificate") && said.contains("openssl x509 -in"), "{said}");
}

#[test]
fn an_engine_that_the_environment_names_and_is_not_used_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("config.json"), r#"{"currentContext": "elsewhere"}"#).unwrap();
    let open = |name: &str, value: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["train", "open", "--key", "creator.pem", "no/such:image", "-o", &at("out")]);
        let done = command.env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT").env(name, value).output().unwrap();
        assert!(!done.status.success());
        said(&done)
    };
    for (name, value, told) in [
        ("DOCKER_HOST", "tcp://engine.example:2375", "DOCKER_HOST=tcp://engine.example:2375 is not used"),
        ("DOCKER_CONTEXT", "remote", "DOCKER_CONTEXT=remote is not used"),
        ("DOCKER_CONFIG", &at(""), "the context \"elsewhere\" of"),
    ] {
        let said = open(name, value);
        assert!(said.contains("warning: ") && said.contains(told), "{name}: {said}");
    }
    assert!(!open("DOCKER_CONTEXT", "default").contains("is not used"));
}
