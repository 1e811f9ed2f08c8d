//! Tokens and keys as an administrator makes them: nothing half made in silence, nothing replaced, and what is odd is said.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use stationmaster_pkcs11_fault::{FaultModule, VARIABLE};

use crate::support::{PROGRAM, Station, set, token::softhsm};

/// A directory with a SoftHSM of its own and a configuration for it.
pub(super) struct Bench {
    pub(super) directory: tempfile::TempDir,
    pub(super) conf: std::path::PathBuf,
}

impl Bench {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let conf = stationmaster_keystore::softhsm::write_conf(&directory.path().join("softhsm")).unwrap();
        let bench = Self { directory, conf };
        let at = |name: &str| bench.path(name);
        fs::create_dir(at("state")).unwrap();
        let config = format!(
            "station = \"hospital-1\"\n[token]\nmodule = {:?}\nlabel = \"pht\"\npin_file = {:?}\nallow_raw_unwrap = true\n\
             [state]\ndirectory = {:?}\n[listen]\nunix = {:?}\n",
            softhsm(),
            at("pin"),
            at("state"),
            at("api.sock")
        );
        fs::write(at("c.toml"), config).unwrap();
        bench.pin("pin", "1234\nkept by: it-security, ticket 4711\n");
        bench.pin("so-pin", "567890\n");
        bench
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn pin(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The program, with the configuration named by the environment alone and without a terminal.
    pub(super) fn program(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .env("SOFTHSM2_CONF", &self.conf)
            .env("STATIONMASTER_CONFIG", self.path("c.toml"))
            .env_remove("CREDENTIALS_DIRECTORY");
        // SAFETY: one system call, allowed between fork and exec. Without a controlling terminal there is nothing to ask.
        unsafe {
            command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
        }
        command.stdin(Stdio::null()).args(["--output", "json"]).args(arguments);
        command
    }

    #[track_caller]
    pub(super) fn done(&self, arguments: &[&str]) -> Value {
        let output = self.program(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        answer(&output)
    }

    #[track_caller]
    pub(super) fn fails(&self, arguments: &[&str]) -> Value {
        let output = self.program(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeds");
        answer(&output)["error"].clone()
    }
}

#[track_caller]
fn answer(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_else(|| panic!("{output:?}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

pub(super) fn says(error: &Value, field: &str, what: &str) -> bool {
    error[field].as_str().is_some_and(|text| text.contains(what))
}

#[test]
fn a_token_is_made_whole_or_not_at_all_and_a_half_made_one_is_finished() {
    let bench = Bench::new();
    let so_pin = bench.path("so-pin");
    bench.pin("short", "12\n");
    let short = bench.fails(&["token", "init", "--so-pin-file", &so_pin, "--pin-file", &bench.path("short")]);
    assert!(
        says(&short, "message", "user PIN must have 4 to 255 bytes") && says(&short, "message", "nothing was changed"),
        "{short}"
    );
    // Nothing is in the way of the right command.
    let made = bench.done(&["token", "init", "--so-pin-file", &so_pin]);
    assert_eq!(made["label"], "pht");
    // The PIN is the file's first line, for other tools as well.
    let listed = Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", &bench.conf)
        .args(["--module", softhsm().to_str().unwrap(), "--token-label", "pht", "--login", "--pin", "1234", "-O"])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");

    // A token that another tool left without a user PIN.
    let init = ["--init-token", "--slot-index", "1", "--label", "half", "--so-pin", "567890"];
    let half = Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", &bench.conf)
        .args(["--module", softhsm().to_str().unwrap()])
        .args(init)
        .output()
        .unwrap();
    assert!(half.status.success(), "{half:?}");
    let (module, pin) = (softhsm().display().to_string(), bench.path("pin"));
    let of_half = ["--module", &module, "--label", "half", "--so-pin-file", &so_pin, "--pin-file", &pin];
    let again = bench.fails(&[&["token", "init"], &of_half[..]].concat());
    assert!(says(&again, "message", "half made") && says(&again, "hint", "`stationmaster pin set`"), "{again}");
    let of_half = ["--module", &module, "--label", "half", "--so-pin-file", &so_pin, "--new-pin-file", &pin];
    let unblocked = bench.fails(&[&["pin", "unblock"], &of_half[..]].concat());
    assert!(says(&unblocked, "message", "no user PIN yet") && says(&unblocked, "hint", "`stationmaster pin set`"), "{unblocked}");
    assert_eq!(bench.done(&[&["pin", "set"], &of_half[..]].concat())["label"], "half");
    let set = bench.fails(&[&["pin", "set"], &of_half[..]].concat());
    assert!(says(&set, "hint", "`pin unblock`") && says(&set, "hint", "`pin change`"), "{set}");

    bench.pin("pin", "4321\n");
    bench.done(&["pin", "unblock", "--so-pin-file", &so_pin]);
    bench.done(&["key", "generate", "hospital-1", "--purpose", "train", "--bits", "2048"]);
    // `serve` takes the configuration from there, too: what it misses is the audit's key.
    let serving = bench.program(&["serve"]);
    let missing = String::from_utf8_lossy(&serving.stdout).into_owned();
    assert!(serving.status.code() == Some(3) && missing.contains(r#"no key labelled \"audit\""#), "{serving:?}");
    let shown = bench.done(&["audit", "show", "--log", "officer"]);
    let events: Vec<_> =
        shown["records"].as_array().unwrap().iter().map(|record| (&record["event"], &record["outcome"])).collect();
    let ended = |event: &str, outcome: &str| events.contains(&(&event.into(), &outcome.into()));
    assert!(
        ended("token-initialised", "failed") && ended("token-initialised", "ok") && ended("user-pin-set", "ok"),
        "{events:?}"
    );
}

#[test]
fn what_is_unusual_about_a_pin_its_source_or_a_key_is_reported() {
    let bench = Bench::new();
    // No terminal: the message names what is missing, not a device.
    let no_pin = bench.fails(&["token", "init"]);
    assert!(says(&no_pin, "message", "no terminal") && says(&no_pin, "hint", "--so-pin-file"), "{no_pin}");
    bench.done(&["token", "init", "--so-pin-file", &bench.path("so-pin")]);

    // A credential that this process was not given.
    let config = fs::read_to_string(bench.path("c.toml")).unwrap();
    fs::write(
        bench.path("credential.toml"),
        config.replace(&format!("pin_file = {:?}", bench.path("pin")), "pin_credential = \"pin\""),
    )
    .unwrap();
    let of_credential =
        ["key", "generate", "x", "--purpose", "general", "--bits", "2048", "--config", &bench.path("credential.toml")];
    let none = bench.fails(&of_credential);
    assert!(says(&none, "message", "credential \"pin\"") && says(&none, "hint", "systemd-run"), "{none}");
    let named = bench.done(&[&of_credential[..], &["--pin-file", &bench.path("pin")]].concat());
    // Nothing names it: that is said when it is made, and in the list.
    assert!(named["warnings"][0].as_str().unwrap().contains("`general` in [keys]"), "{named}");
    let train = bench.done(&["key", "generate", "hospital-1", "--purpose", "train", "--bits", "2048"]);
    assert_eq!(train["warnings"], Value::Array(Vec::new()));
    let wrong = bench.done(&["key", "generate", "audit", "--purpose", "general", "--bits", "2048"]);
    assert!(wrong["warnings"][0].as_str().unwrap().contains("names \"audit\" for audit"), "{wrong}");

    // A key on a curve that is not used, and another serial number.
    let made = Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", &bench.conf)
        .args(["--module", softhsm().to_str().unwrap(), "--token-label", "pht", "--login", "--pin", "1234"])
        .args(["--keypairgen", "--key-type", "EC:secp521r1", "--label", "st1", "--id", "01"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let direct = ["--config", &bench.path("c.toml")];
    let curve = bench.fails(&[&["key", "show", "st1"], &direct[..]].concat());
    assert!(says(&curve, "message", "is EC secp521r1"), "{curve}");
    assert_eq!(bench.done(&[&["key", "list"], &direct[..]].concat())["others"][0]["label"], "st1");
    fs::write(bench.path("serial.toml"), config.replace("label = \"pht\"", "label = \"pht\"\nserial = \"ABC\"")).unwrap();
    let serial = bench.fails(&["key", "list", "--config", &bench.path("serial.toml")]);
    assert!(says(&serial, "message", "names \"ABC\"") && !says(&serial, "message", "no token labelled"), "{serial}");

    // A wrong PIN: its source and the file that remembers it are named. A changed PIN is tried without the file being removed.
    bench.pin("pin", "9999\n");
    for _ in 0..2 {
        let wrong = bench.fails(&[&["key", "list"], &direct[..]].concat());
        assert_eq!(wrong["reason"], "HSM_PIN_LATCHED");
        assert!(says(&wrong, "message", &bench.path("pin")) && says(&wrong, "hint", &bench.path("state/pin-latch")), "{wrong}");
    }
    bench.pin("pin", "1234\n");
    bench.done(&[&["key", "list"], &direct[..]].concat());
    // Before there is a state directory.
    fs::remove_dir_all(bench.path("state")).unwrap();
    let early = bench.fails(&[&["key", "list"], &direct[..]].concat());
    assert!(says(&early, "message", "No such file or directory") && says(&early, "hint", &bench.path("state")), "{early}");
}

#[test]
fn a_wrong_pin_is_tried_once_by_restarts_of_the_service_and_commands_beside_it() {
    let bench = Bench::new();
    bench.done(&["token", "init", "--so-pin-file", &bench.path("so-pin")]);
    let fault = FaultModule::create(&bench.directory.path().join("fault"), &softhsm()).unwrap();
    let config = fs::read_to_string(bench.path("c.toml")).unwrap();
    let module = FaultModule::library().unwrap();
    fs::write(bench.path("c.toml"), config.replace(softhsm().to_str().unwrap(), module.to_str().unwrap())).unwrap();
    bench.pin("pin", "9999\n");
    let start = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        command.env(VARIABLE, fault.directory()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let config = bench.path("c.toml");
    let (serve, list) = (["serve", "--config", &config], ["key", "list", "--config", &config]);
    // At once: the others come while the first waits for the token.
    fault.set("C_Login every before delay 1000").unwrap();
    let processes = [&serve[..], &list, &list].map(start);
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for round in 0..20 {
        let output = start(if round % 4 == 0 { &list } else { &serve }).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let journal = fault.journal().unwrap();
    // Three processes at once and twenty after them; the 16 services try in a child first whether the module crashes.
    assert_eq!((journal.calls("C_Login"), journal.calls("C_Initialize")), (1, 23 + 16));
}

#[test]
fn a_public_key_is_not_exported_over_a_file_that_is_there() {
    let station = Station::start("a");
    let file = station.state().join("exported.pem").to_str().unwrap().to_owned();
    let export = |more: &[&str]| station.client_command(&[&["key", "export", "a", "-o", &file], more].concat()).output().unwrap();
    assert!(export(&[]).status.success());
    let exported = fs::read(&file).unwrap();
    fs::write(&file, "another's").unwrap();
    let refused = export(&[]);
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"));
    assert_eq!(fs::read(&file).unwrap(), b"another's");
    assert!(export(&["--force"]).status.success());
    assert_eq!(fs::read(&file).unwrap(), exported);
}

#[test]
fn a_train_key_that_was_not_made_for_trains_in_the_token_is_warned_of_at_the_start() {
    let mut station = Station::start("a");
    station.stop();
    let key = station.state().join("imported.pem");
    let pem =
        openssl::pkey::PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap().private_key_to_pem_pkcs8().unwrap();
    fs::write(&key, pem).unwrap();
    let imported = Command::new("softhsm2-util")
        .env("SOFTHSM2_CONF", station.softhsm_conf())
        .args(["--import", key.to_str().unwrap(), "--token", "stationmaster-dev", "--label", "imported", "--id", "4711"])
        .args(["--pin", &station.pin()])
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
    station.configure(|config| {
        set(config, "keys", "train", ["a", "a-general", "imported"].map(toml::Value::from).to_vec());
        set(config, "keys", "general", Vec::<toml::Value>::new());
    });
    let before = station.log().len();
    station.start_again();
    let log = station.log().split_off(before);
    let warned = |key: &str, what: &str| {
        log.lines().any(|line| line.contains(&format!("\"{key}\"")) && line.contains("WARN") && line.contains(what))
    };
    assert!(warned("imported", "was not made in the token") && warned("imported", "more than its purpose needs"), "{log}");
    assert!(warned("a-general", "more than its purpose needs") && !warned("a-general", "was not made in the token"), "{log}");
    assert!(!warned("a", "more than its purpose needs"), "{log}");
}
