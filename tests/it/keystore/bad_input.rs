//! What is wrong with a module, a token or its objects is one sentence with the cause, one with the remedy and an exit code; the token
//! stays as it was.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;
use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};

use super::made::{Bench, says};
use crate::support::token::softhsm;

/// Returns the digest of every object of the tokens. SoftHSM counts logins in the object of the token itself.
fn content(directory: &Path) -> BTreeMap<std::path::PathBuf, [u8; 32]> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            files.extend(content(&entry.path()));
        } else if entry.path().extension().is_some_and(|kind| kind == "object") && entry.file_name() != "token.object" {
            files.insert(entry.path(), openssl::sha::sha256(&fs::read(entry.path()).unwrap()));
        }
    }
    files
}

/// A bench, with a token unless it is not wanted.
struct Scene {
    bench: Bench,
    fault: FaultModule,
}

impl Scene {
    fn without_token() -> Self {
        let bench = Bench::new();
        let fault = FaultModule::create(&bench.directory.path().join("fault"), &softhsm()).unwrap();
        Self { bench, fault }
    }

    fn new() -> Self {
        let scene = Self::without_token();
        scene.bench.done(&["token", "init", "--so-pin-file", &scene.bench.path("so-pin")]);
        scene
    }

    /// The configuration, with a text replaced.
    fn configured(&self, from: &str, to: &str) {
        let config = fs::read_to_string(self.bench.path("c.toml")).unwrap();
        assert!(config.contains(from), "{config}");
        fs::write(self.bench.path("c.toml"), config.replace(from, to)).unwrap();
    }

    /// From now on the module fails by these rules.
    fn failing(&self, rules: &str) {
        self.configured(softhsm().to_str().unwrap(), FaultModule::library().unwrap().to_str().unwrap());
        self.fault.set(rules).unwrap();
    }

    fn tool(&self, program: &str, arguments: &[&str]) {
        let done = Command::new(program).env("SOFTHSM2_CONF", &self.bench.conf).args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    /// Runs a command that must fail, and checks everything that is promised of it.
    #[track_caller]
    fn refused(&self, arguments: &[&str], exit: i32, cause: &str, remedy: &str) {
        let tokens = self.bench.directory.path().join("softhsm/tokens");
        let before = content(&tokens);
        let output = self.bench.command(arguments).env(VARIABLE, self.fault.directory()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "{said}");
        let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{said}"));
        let error = &last["error"];
        assert!(says(error, "message", cause) && says(error, "hint", remedy), "{said}");
        assert!(!error["message"].as_str().unwrap().contains('\n'), "{said}");
        assert_eq!(content(&tokens), before, "the token was changed");
    }
}

const GENERATE: [&str; 7] = ["key", "generate", "hospital-1", "--purpose", "train", "--bits", "2048"];

impl Scene {
    fn config(&self) -> String {
        self.bench.path("c.toml")
    }

    /// As a command that lists, and as the service.
    #[track_caller]
    fn both_refused(&self, exit: i32, cause: &str, remedy: &str) {
        self.refused(&["key", "list", "--config", &self.config()], exit, cause, remedy);
        self.refused(&["serve", "--config", &self.config()], exit, cause, remedy);
    }
}

#[test]
fn no_module_at_the_path() {
    let scene = Scene::new();
    scene.configured(softhsm().to_str().unwrap(), "/nowhere/libhsm.so");
    scene.both_refused(3, "/nowhere/libhsm.so cannot be used", "check the module's path");
}

#[test]
fn an_uninitialised_token_and_a_wrong_one() {
    Scene::without_token().both_refused(6, "no token labelled \"pht\"; the module shows none", "`token init` makes a token");
    let scene = Scene::new();
    scene.configured("label = \"pht\"", "label = \"other\"");
    scene.both_refused(6, "no token labelled \"other\"; the module shows \"pht\"", "check the label");
}

#[test]
fn two_tokens_of_one_label() {
    let scene = Scene::new();
    scene.tool("softhsm2-util", &["--init-token", "--free", "--label", "pht", "--pin", "1234", "--so-pin", "567890"]);
    scene.both_refused(6, "there are several tokens labelled \"pht\"", "add the serial number");
}

#[test]
fn two_keys_of_one_label() {
    let scene = Scene::new();
    let module = softhsm().to_str().unwrap().to_owned();
    for id in ["01", "02"] {
        let token = ["--module", &module, "--token-label", "pht", "--login", "--pin", "1234"];
        let key = ["--keypairgen", "--key-type", "rsa:2048", "--label", "hospital-1", "--id", id];
        scene.tool("pkcs11-tool", &[&token[..], &key].concat());
    }
    scene.bench.done(&["key", "generate", "audit", "--purpose", "audit", "--bits", "2048"]);
    let serve = ["serve", "--config", &scene.config()];
    scene.refused(&serve, 1, "several private keys are labelled \"hospital-1\"", "give each key its own label");
}

#[test]
fn a_locked_pin() {
    let scene = Scene::new();
    scene.failing("C_Login every before return CKR_PIN_LOCKED");
    scene.refused(&["key", "list", "--config", &scene.config()], 7, "PIN is at risk (locked)", "`stationmaster pin unblock`");
    // A locked PIN cannot be changed with itself, and is not tried either.
    let change = ["pin", "change", "--new-pin-file", &scene.bench.path("so-pin"), "--config", &scene.config()];
    scene.refused(&change, 7, "was refused before", "delete");
    // The PIN is not tried again.
    scene.refused(&["key", "list", "--config", &scene.config()], 7, "was refused before", "delete");
    assert_eq!(scene.fault.journal().unwrap().calls("C_Login"), 1);
}

#[test]
fn a_full_or_read_only_token() {
    let scene = Scene::new();
    scene.failing("C_GenerateKeyPair every before return CKR_DEVICE_MEMORY");
    scene.refused(&GENERATE, 5, "no session or memory left", "delete objects");
    scene.fault.set("C_OpenSession every before return CKR_TOKEN_WRITE_PROTECTED").unwrap();
    scene.refused(&GENERATE, 1, "CKR_TOKEN_WRITE_PROTECTED", "the token is read-only");
}

#[test]
fn a_key_size_that_the_token_or_the_service_does_not_support() {
    let scene = Scene::new();
    scene.failing("C_GenerateKeyPair every before return CKR_KEY_SIZE_RANGE");
    scene.refused(&GENERATE, 1, "CKR_KEY_SIZE_RANGE", "choose another --bits");
    let small = [&GENERATE[..6], &["1024"]].concat();
    assert_eq!(scene.bench.program(&small).status.code(), Some(2));
}

#[test]
fn an_object_that_vanishes_while_it_is_read() {
    let scene = Scene::new();
    scene.bench.done(&GENERATE);
    scene.failing("C_GetAttributeValue every before return CKR_OBJECT_HANDLE_INVALID");
    scene.refused(&["key", "list", "--config", &scene.config()], 1, "CKR_OBJECT_HANDLE_INVALID", "was deleted or replaced");
}

#[test]
fn a_module_that_crashes_in_its_initialisation_does_not_take_the_service_down_without_a_word() {
    let scene = Scene::new();
    scene.configured("[token]\n", "[token]\nisolation = \"process\"\nsandbox = false\ncall_timeout_s = 2\n");
    scene.failing("C_Initialize every before crash");
    scene.refused(&["serve", "--config", &scene.config()], 6, "its module ended the process that opened it", "check the module");
}

#[test]
fn a_module_that_crashes_is_one_error_with_its_remedy_for_every_command() {
    let scene = Scene::new();
    scene.bench.done(&GENERATE);
    let config = scene.config();
    let so_pin = scene.bench.path("so-pin");
    let commands: [&[&str]; 6] = [
        &["key", "list", "--config", &config],
        &["key", "export", "hospital-1", "--format", "pem", "--config", &config],
        &["token", "show", "--config", &config],
        &["pin", "unblock", "--so-pin-file", &so_pin, "--config", &config],
        &["serve", "--config", &config],
        &["key", "generate", "hospital-2", "--purpose", "general"],
    ];
    scene.failing("C_Initialize every before crash");
    let crashed = format!("the PKCS#11 module {} crashed (SIGABRT)", FaultModule::library().unwrap().display());
    for command in commands {
        scene.refused(command, 6, &crashed, "isolation = \"process\"");
    }
    // Later, too, when the command has begun to change the token.
    scene.fault.set("C_GenerateKeyPair every before crash").unwrap();
    scene.refused(commands[5], 6, &crashed, "isolation = \"process\"");
    scene.fault.set("C_FindObjects every before crash").unwrap();
    scene.refused(commands[0], 6, &crashed, "isolation = \"process\"");
    scene.fault.set("").unwrap();
    let listed = scene.bench.command(commands[0]).env(VARIABLE, scene.fault.directory()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stdout));
}

#[test]
fn a_module_that_hangs_in_its_initialisation_does_not_hold_up_the_start_for_ever() {
    let scene = Scene::new();
    scene.configured("[token]\n", "[token]\nisolation = \"process\"\nsandbox = false\nopen_timeout_s = 1\n");
    scene.failing("C_Initialize every before hang");
    let serve = ["serve", "--config", &scene.config()];
    scene.refused(&serve, 6, "its module does not return from opening it", "a higher `open_timeout_s`");
}
