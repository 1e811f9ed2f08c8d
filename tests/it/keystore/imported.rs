//! A station's registered key goes from its PEM file into the token, proved to be the same key, or not at all.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use openssl::{
    pkey::{PKey, Private},
    rsa::Rsa,
    symm::Cipher,
};
use serde_json::Value;
use stationmaster::audit::Event;
use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};

use super::made::{Bench, says};
use crate::support::token::softhsm;

struct Scene {
    bench: Bench,
    rsa: Rsa<Private>,
}

impl Scene {
    fn new() -> Self {
        let bench = Bench::new();
        bench.done(&["token", "init", "--so-pin-file", &bench.path("so-pin")]);
        Self { bench, rsa: Rsa::generate(2048).unwrap() }
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.bench.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn arguments<'a>(label: &'a str, file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["key", "import", label, "--key", file, "--purpose", "train", "--reason", "ticket 4711"][..], more].concat()
    }

    fn import(&self, label: &str, file: &str, more: &[&str]) -> Value {
        self.bench.done(&Self::arguments(label, file, more))
    }

    #[track_caller]
    fn refused(&self, label: &str, file: &str, more: &[&str], exit: i32, cause: &str, remedy: &str) {
        let before = self.keys();
        let output = self.bench.program(&Self::arguments(label, file, more));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{text}");
        let error = serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()["error"].clone();
        assert!(says(&error, "message", cause) && (remedy.is_empty() || says(&error, "hint", remedy)), "{error}");
        assert_eq!(self.keys(), before, "the token was changed");
    }

    fn keys(&self) -> Vec<String> {
        let listed = self.bench.done(&["key", "list", "--config", &self.bench.path("c.toml")]);
        let keys = listed["keys"].as_array().unwrap().iter();
        keys.map(|key| format!("{} {}", key["label"], key["fingerprint"])).collect()
    }
}

#[test]
fn a_key_of_every_form_of_pem_is_imported_and_is_the_same_key_in_the_token() {
    let scene = Scene::new();
    let key = PKey::from_rsa(scene.rsa.clone()).unwrap();
    let pkcs8 = key.private_key_to_pem_pkcs8().unwrap();
    let crlf = String::from_utf8(pkcs8.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"a secret phrase").unwrap();
    let secret = scene.file("passphrase", b"a secret phrase\n");
    let forms = [
        ("pkcs1", scene.rsa.private_key_to_pem().unwrap(), vec![]),
        ("pkcs8", pkcs8, vec![]),
        ("crlf", crlf, vec![]),
        ("encrypted", encrypted, vec!["--passphrase-file", &secret]),
    ];
    let public = String::from_utf8(key.public_key_to_pem().unwrap()).unwrap();
    for (label, pem, more) in forms {
        let made = scene.import(label, &scene.file("key.pem", &pem), &more);
        assert_eq!(made["label"], label);
        let (yes, no) = (Value::Bool(true), Value::Bool(false));
        let flags = ["sensitive", "extractable", "never_extractable", "generated_in_token"].map(|name| made[name].clone());
        assert_eq!(flags, [yes, no.clone(), no.clone(), no], "{made}");
        let exported = scene.bench.path("exported.pem");
        scene.bench.done(&[
            "key",
            "export",
            label,
            "--format",
            "pem",
            "-o",
            &exported,
            "--force",
            "--config",
            &scene.bench.path("c.toml"),
        ]);
        assert_eq!(fs::read_to_string(&exported).unwrap(), public);
        // Signatures, a decryption, and that it was not generated there.
        let verified = scene.bench.done(&["key", "verify", label, "--purpose", "train", "--config", &scene.bench.path("c.toml")]);
        assert_eq!((&verified["verified"], &verified["generated_in_token"]), (&Value::Bool(true), &Value::Bool(false)));
        assert!(made["warnings"].to_string().contains("shred -u"), "{made}");
    }
    // A copy that others could read.
    let open = scene.file("open.pem", &scene.rsa.private_key_to_pem().unwrap());
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(scene.import("open", &open, &[])["warnings"].to_string().contains("readable by other users (mode 644)"));
}

#[test]
fn a_file_that_is_no_usable_rsa_key_and_a_label_that_is_taken_change_nothing() {
    let scene = Scene::new();
    scene.bench.done(&["key", "generate", "taken", "--purpose", "general", "--bits", "2048"]);
    let key = PKey::from_rsa(scene.rsa.clone()).unwrap();
    let good = scene.file("good.pem", &key.private_key_to_pem_pkcs8().unwrap());
    scene.refused("taken", &good, &[], 5, "\"taken\"", "");
    scene.refused("hospital-1", &scene.bench.path("absent.pem"), &[], 3, "absent.pem", "");
    let public = scene.file("public.pem", &key.public_key_to_pem().unwrap());
    scene.refused("hospital-1", &public, &[], 2, "public", "private");
    let small = Rsa::generate(1024).unwrap().private_key_to_pem().unwrap();
    scene.refused("hospital-1", &scene.file("small.pem", &small), &[], 2, "1024", "");
    let curve = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let curve = PKey::from_ec_key(openssl::ec::EcKey::generate(&curve).unwrap()).unwrap();
    let curve = scene.file("curve.pem", &curve.private_key_to_pem_pkcs8().unwrap());
    scene.refused("hospital-1", &curve, &[], 2, "RSA", "");
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"a secret phrase").unwrap();
    let encrypted = scene.file("encrypted.pem", &encrypted);
    scene.refused("hospital-1", &encrypted, &["--passphrase-file", &scene.file("wrong", b"another\n")], 7, "does not open", "");
    scene.refused("hospital-1", &encrypted, &[], 2, "no terminal", "--passphrase-file");
    // Nothing in the logs tells the key or the passphrase.
    let state = scene.bench.path("state");
    let searched = Command::new("grep").args(["-rlE", "a secret phrase|PRIVATE KEY", &state]).output().unwrap();
    assert!(searched.stdout.is_empty(), "{searched:?}");
}

#[test]
fn a_key_that_does_not_serve_its_purpose_in_the_token_is_removed_again() {
    let scene = Scene::new();
    let fault = FaultModule::create(&scene.bench.directory.path().join("fault"), &softhsm()).unwrap();
    let config = fs::read_to_string(scene.bench.path("c.toml")).unwrap();
    let module = FaultModule::library().unwrap();
    fs::write(scene.bench.path("c.toml"), config.replace(softhsm().to_str().unwrap(), module.to_str().unwrap())).unwrap();
    fault.set("C_SignInit every before return CKR_KEY_FUNCTION_NOT_PERMITTED").unwrap();
    let file = scene.file("key.pem", &scene.rsa.private_key_to_pem().unwrap());
    let with_module = |arguments: &[&str]| {
        let output = scene.bench.command(arguments).env(VARIABLE, fault.directory()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text.lines().last().unwrap().to_owned())
    };
    let (code, said) = with_module(&Scene::arguments("hospital-1", &file, &[]));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("cannot sign trains") && said.contains("removed from the token again"), "{said}");
    fault.set("").unwrap();
    let (code, listed) = with_module(&["key", "list", "--config", &scene.bench.path("c.toml")]);
    assert_eq!((code, &serde_json::from_str::<Value>(&listed).unwrap()["keys"]), (Some(0), &Value::Array(Vec::new())));
    // No public half of it remains either.
    let objects = Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", &scene.bench.conf)
        .args(["--module", softhsm().to_str().unwrap(), "--token-label", "pht", "--login", "--pin", "1234", "-O"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&objects.stdout).contains("hospital-1"), "{objects:?}");
    let recorded = fs::read_to_string(scene.bench.path("state/audit/officer/00000001.jsonl")).unwrap();
    let imported = serde_json::to_string(&Event::KeyImported).unwrap();
    let last = recorded.lines().rfind(|line| line.contains(&imported)).unwrap();
    assert!(last.contains("\"outcome\":\"failed\"") && last.contains("removed from the token again"), "{recorded}");
}
