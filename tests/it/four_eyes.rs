//! Four eyes: a guarded act takes effect after another officer's approval only, once, and exactly as it was approved.

mod keys;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use openssl::{
    ec::{EcGroup, EcKey},
    nid::Nid,
    pkey::{PKey, Private},
    rsa::Rsa,
};
use serde_json::Value;

use crate::{
    cli::{last_line, output, said},
    support::{
        PROGRAM,
        tamper::{RESULTS, Scene, run_script},
    },
};

/// The commands of a station whose trust and grants a second officer approves. No service runs: the commands need none.
struct Office {
    directory: tempfile::TempDir,
}

const ALL: &str = r#"["trust-change", "grant-change", "allow-again", "officers-change"]"#;
/// The officers, each logged in as another user, with keys of three types.
const ANNA: (&str, u32) = ("anna", 4101);
const BERT: (&str, u32) = ("bert", 4102);
const CLARA: (&str, u32) = ("clara", 4103);

impl Office {
    fn with(acts: &str) -> Self {
        let office = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(office.at("state")).unwrap();
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let keys = [
            (ANNA, PKey::generate_ed25519().unwrap()),
            (BERT, PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()),
            (CLARA, PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()),
            (("mallory", 0), PKey::generate_ed25519().unwrap()),
        ];
        for ((name, _), key) in &keys {
            office.write_key(name, key);
        }
        office.officers(&[ANNA, BERT, CLARA]);
        office.configure(acts);
        office
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_key(&self, name: &str, key: &PKey<Private>) {
        let file = self.at(&format!("{name}.key"));
        fs::write(&file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(self.at(&format!("{name}.pem")), key.public_key_to_pem().unwrap()).unwrap();
    }

    fn officers(&self, officers: &[(&str, u32)]) {
        let entry = |(name, _): &(&str, u32)| {
            format!(
                "[[officer]]\nname = \"{name}\"\nkey = \"\"\"\n{}\"\"\"\n",
                fs::read_to_string(self.at(&format!("{name}.pem"))).unwrap()
            )
        };
        let text = officers.iter().map(entry).fold("version = 1\n".to_owned(), |text, entry| text + &entry);
        fs::write(self.at("officers.toml"), text).unwrap();
    }

    fn configure(&self, acts: &str) {
        let at = |name: &str| self.at(name).display().to_string();
        let text = format!(
            "station = \"s\"\n[token]\nmodule = \"/m.so\"\nlabel = \"t\"\n[state]\ndirectory = \"{}\"\n[listen]\nunix = \"{}\"\n\
             [four_eyes]\nacts = {acts}\nofficers = \"{}\"\n",
            at("state"),
            at("sock"),
            at("officers.toml")
        );
        fs::write(self.at("s.toml"), text).unwrap();
    }

    /// A command of an officer, who signs with this key and is logged in as this user.
    fn command(&self, (name, uid): (&str, u32), arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env("STATIONMASTER_CONFIG", self.at("s.toml"))
            .env("STATIONMASTER_OFFICER_KEY", self.at(&format!("{name}.key")))
            .env("SUDO_UID", uid.to_string())
            .stdin(Stdio::null());
        as_login(&mut command, uid);
        command
    }

    #[track_caller]
    fn json(&self, officer: (&str, u32), arguments: &[&str]) -> Value {
        last_line(&output(self.command(officer, arguments).args(["--output", "json"])))
    }

    /// A command that must fail: with this exit code and message.
    #[track_caller]
    fn fails(&self, officer: (&str, u32), arguments: &[&str], exit: i32, message: &str) -> Value {
        let done = self.command(officer, arguments).args(["--output", "json"]).output().unwrap();
        assert_eq!(done.status.code(), Some(exit), "{arguments:?}: {}", said(&done));
        assert!(said(&done).contains(message), "{arguments:?}: {}", said(&done));
        last_line(&String::from_utf8(done.stdout).unwrap())["error"].clone()
    }

    /// Requests an act, and returns the request's id.
    #[track_caller]
    fn requests(&self, officer: (&str, u32), arguments: &[&str]) -> String {
        let error = self.fails(officer, arguments, 9, "a second officer must approve");
        error["metadata"]["request"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn approves(&self, officer: (&str, u32), id: &str) {
        let shown = self.json(officer, &["approval", "approve", id, "--yes"]);
        assert_eq!(shown["state"], "approved", "{shown}");
    }

    /// The last record of an event in the administrators' audit.
    #[track_caller]
    fn record(&self, event: &str) -> Value {
        let mut command = Command::new(PROGRAM);
        command.args(["audit", "show", "--log", "officer", "--event", event, "--output", "json", "--config"]);
        let shown = last_line(&output(command.arg(self.at("s.toml"))));
        shown["records"].as_array().unwrap().last().unwrap().clone()
    }

    fn request_file(&self, id: &str) -> PathBuf {
        self.at("state").join("four-eyes/requests").join(format!("{id}.json"))
    }

    fn grants(&self) -> String {
        fs::read_to_string(self.at("access.toml")).unwrap_or_default()
    }
}

/// Logs the command's user in, as `pam_loginuid` does: only the first time, and only root may. Otherwise `SUDO_UID` distinguishes people.
#[expect(unsafe_code, reason = "writes to a file between fork and exec, without allocation")]
fn as_login(command: &mut Command, uid: u32) {
    use std::{io::Write, os::unix::process::CommandExt};
    let text = uid.to_string();
    // SAFETY: only opens, writes and closes a file.
    unsafe {
        command.pre_exec(move || {
            if let Ok(mut file) = fs::OpenOptions::new().write(true).open("/proc/self/loginuid") {
                let _ = file.write_all(text.as_bytes());
            }
            Ok(())
        });
    }
}

const ALLOW: &[&str] = &["access", "allow", "unix:uid=4711", "--role", "station", "--reason", "new pipeline"];

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, more].concat()
}

#[test]
fn a_guarded_act_takes_effect_after_a_second_officers_approval_and_both_are_in_its_record() {
    let office = Office::with(ALL);
    let id = office.requests(ANNA, ALLOW);
    assert_eq!(office.grants(), "", "nothing is granted before the approval");
    office.fails(ANNA, &with(ALLOW, &["--request", &id]), 9, "no second officer has approved");
    let shown = office.json(BERT, &["approval", "show", &id]);
    assert_eq!((&shown["officer"], &shown["reason"], &shown["state"]), (&"anna".into(), &"new pipeline".into(), &"open".into()));
    assert_eq!(shown["parameters"]["allowed"]["principal"], "unix:uid=4711");
    office.approves(BERT, &id);
    office.json(ANNA, &with(ALLOW, &["--request", &id]));
    assert!(office.grants().contains("unix:uid=4711"));
    let record = office.record("access-changed");
    let approval = &record["about"]["approval"];
    assert_eq!(
        (&approval["requested_by"]["officer"], &approval["approved_by"]["officer"]),
        (&"anna".into(), &"bert".into()),
        "{record}"
    );
    assert_eq!(approval["approved_by"]["uid"], BERT.1);
    assert_eq!((&approval["request"], &approval["digest"]), (&id.into(), &shown["digest"]));
}

#[test]
fn changes_of_trust_need_a_second_officer_too_also_when_the_file_is_named() {
    let office = Office::with(ALL);
    let (file, key) = (office.at("trust.toml"), office.at("clara.pem"));
    let (file, key) = (file.to_str().unwrap(), key.to_str().unwrap());
    let add = ["trust", "add", "station", "b", "--key", key];
    office.requests(ANNA, &with(&add, &["--file", file]));
    let id = office.requests(ANNA, &add);
    assert!(!office.at("trust.toml").exists());
    office.approves(CLARA, &id);
    office.json(ANNA, &with(&add, &["--request", &id]));
    assert!(office.at("trust.toml").exists());
    let before = fs::read(file).unwrap();
    office.requests(BERT, &["trust", "remove", "station", "b"]);
    assert_eq!(fs::read(file).unwrap(), before);
    assert_eq!(office.record("trust-changed")["about"]["approval"]["approved_by"]["officer"], "clara");
}

#[test]
fn the_requester_never_approves_neither_by_name_nor_by_key_nor_as_the_same_user() {
    let office = Office::with(ALL);
    let id = office.requests(ANNA, ALLOW);
    let approve = ["approval", "approve", &id, "--yes"];
    office.fails(ANNA, &approve, 7, "cannot be approved by its requester");
    office.fails(("anna", BERT.1), &approve, 7, "cannot be approved by its requester");
    office.fails(("bert", ANNA.1), &approve, 7, "cannot be approved by its requester");
    let refusal = office.record("approval-refused");
    assert!(refusal["detail"].as_str().unwrap().contains("requester") && refusal["about"]["request"] == id.as_str(), "{refusal}");
    // The same officer with a new key under the same name.
    office.write_key("anna", &PKey::generate_ed25519().unwrap());
    office.configure(r#"["grant-change"]"#);
    office.officers(&[ANNA, BERT]);
    office.fails(("anna", CLARA.1), &approve, 7, "no longer, in the file of officers");
    assert_eq!(office.grants(), "");
}

#[test]
fn an_approval_is_used_once_also_after_its_request_was_copied_back() {
    let office = Office::with(ALL);
    let id = office.requests(ANNA, ALLOW);
    office.approves(BERT, &id);
    let approved = fs::read(office.request_file(&id)).unwrap();
    office.json(ANNA, &with(ALLOW, &["--request", &id]));
    office.fails(ANNA, &with(ALLOW, &["--request", &id]), 5, "it is used");
    fs::write(office.request_file(&id), approved).unwrap();
    office.fails(CLARA, &with(ALLOW, &["--request", &id]), 5, "it is used");
    // Under another name it is another request's text.
    let other = office.requests(ANNA, ALLOW);
    fs::copy(office.request_file(&id), office.request_file(&other)).unwrap();
    office.fails(ANNA, &with(ALLOW, &["--request", &other]), 7, "it has another id");
    assert_eq!(office.grants().matches("unix:uid=4711").count(), 1);
}

#[test]
fn an_approval_is_for_exactly_what_was_requested() {
    let office = Office::with(ALL);
    let id = office.requests(ANNA, ALLOW);
    office.approves(BERT, &id);
    for other in [
        &["access", "allow", "unix:uid=4712", "--role", "station"][..],
        &["access", "allow", "unix:uid=4711", "--role", "officer"],
        &["access", "allow", "unix:uid=4711", "--role", "station", "--train", "t"],
        &["access", "allow", "unix:uid=4711", "--role", "station", "--comment", "c"],
    ] {
        office.fails(ANNA, &with(other, &["--request", &id]), 7, "was approved for");
    }
    let key = office.at("clara.pem");
    let trust = ["trust", "add", "station", "b", "--key", key.to_str().unwrap(), "--request", &id];
    office.fails(ANNA, &trust, 7, "was approved for");
    assert_eq!(office.grants(), "");
    assert!(!office.at("trust.toml").exists());
    // What differed did not use the approval up.
    office.json(ANNA, &with(ALLOW, &["--request", &id]));
}

#[test]
fn an_edited_request_or_approval_is_refused() {
    let office = Office::with(ALL);
    let id = office.requests(ANNA, ALLOW);
    let before = fs::read_to_string(office.request_file(&id)).unwrap();
    office.approves(BERT, &id);
    let approved = fs::read_to_string(office.request_file(&id)).unwrap();
    // Its parameters, its end, its officer, its verdict, its signature.
    for (from, to) in [
        ("unix:uid=4711", "unix:uid=4712"),
        ("\\\"expires\\\":\\\"2", "\\\"expires\\\":\\\"3"),
        ("\\\"officer\\\":\\\"bert", "\\\"officer\\\":\\\"clara"),
        ("\\\"verdict\\\":\\\"approve", "\\\"verdict\\\":\\\"reject"),
        ("\"signature\":\"", "\"signature\":\"AAAA"),
        ("{\"request\":", "{\"reqest\":"),
    ] {
        assert!(approved.contains(from), "{from} is not in {approved}");
        fs::write(office.request_file(&id), approved.replacen(from, to, 1)).unwrap();
        office.fails(ANNA, &with(ALLOW, &["--request", &id]), 7, "edited");
        let listed = office.json(ANNA, &["approval", "list"]);
        assert_eq!(listed["requests"][0]["state"], "refused", "{listed}");
    }
    // The approval of another request.
    let other = office.requests(ANNA, &["access", "allow", "unix:uid=4712", "--role", "officer"]);
    let mut moved: Value = serde_json::from_str(&fs::read_to_string(office.request_file(&other)).unwrap()).unwrap();
    moved["decision"] = serde_json::from_str::<Value>(&approved).unwrap()["decision"].clone();
    fs::write(office.request_file(&other), moved.to_string()).unwrap();
    let act = ["access", "allow", "unix:uid=4712", "--role", "officer", "--request", &other];
    office.fails(ANNA, &act, 7, "it is about another request");
    assert_eq!(office.grants(), "");
    // Without its decision it is a request that is open.
    fs::write(office.request_file(&id), before).unwrap();
    office.fails(ANNA, &with(ALLOW, &["--request", &id]), 9, "no second officer has approved");
    assert!(office.record("approval-refused")["detail"].as_str().unwrap().contains("no second officer"));
}

#[test]
fn a_request_is_refused_after_a_rejection_and_when_an_officer_is_gone() {
    let office = Office::with(r#"["grant-change"]"#);
    let id = office.requests(ANNA, ALLOW);
    let rejected = office.json(BERT, &["approval", "reject", &id, "--reason", "not agreed"]);
    assert_eq!((&rejected["state"], &rejected["decision"]["reason"]), (&"rejected".into(), &"not agreed".into()));
    office.fails(ANNA, &with(ALLOW, &["--request", &id]), 5, "it is rejected");
    office.fails(CLARA, &["approval", "approve", &id, "--yes"], 5, "is rejected");

    let id = office.requests(ANNA, ALLOW);
    office.approves(BERT, &id);
    office.officers(&[ANNA, CLARA]);
    office.fails(ANNA, &with(ALLOW, &["--request", &id]), 7, "no longer, in the file of officers");
    office.officers(&[BERT, CLARA]);
    office.fails(ANNA, &with(ALLOW, &["--request", &id]), 7, "no longer, in the file of officers");
    office.fails(ANNA, ALLOW, 7, "no officer has the key");
    office.fails(("mallory", 4104), ALLOW, 7, "no officer has the key");
    assert_eq!(office.grants(), "");
}

#[test]
fn a_request_expires() {
    let office = Office::with(r#"["grant-change"]"#);
    // The program's clock is the system's; the shortest time is an hour, so the request's own end is moved, signed by its officer.
    let id = office.requests(ANNA, ALLOW);
    let mut stored: Value = serde_json::from_str(&fs::read_to_string(office.request_file(&id)).unwrap()).unwrap();
    let mut text: Value = serde_json::from_str(stored["request"]["text"].as_str().unwrap()).unwrap();
    text["expires"] = "2020-01-01T00:00:00Z".into();
    let text = text.to_string();
    let key = PKey::private_key_from_pem(&fs::read(office.at("anna.key")).unwrap()).unwrap();
    let signed = format!("stationmaster four-eyes request\n{text}");
    let signature = openssl::sign::Signer::new_without_digest(&key).unwrap().sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    stored["request"]["text"] = text.into();
    stored["request"]["signature"] = openssl::base64::encode_block(&signature).into();
    fs::write(office.request_file(&id), stored.to_string()).unwrap();
    office.fails(BERT, &["approval", "approve", &id, "--yes"], 5, "is expired");
    office.fails(ANNA, &with(ALLOW, &["--request", &id]), 5, "it is expired");
    assert_eq!(office.grants(), "");
}

#[test]
fn another_file_of_officers_is_in_force_only_after_officers_of_both_agreed() {
    let office = Office::with(ALL);
    office.json(ANNA, &["approval", "list"]);
    office.officers(&[ANNA, BERT, ("mallory", 4104)]);
    office.fails(("mallory", 4104), ALLOW, 7, "its officers are not in force");
    let accept = ["approval", "accept-officers"];
    office.fails(("mallory", 4104), &accept, 7, "no officer has the key");
    let id = office.requests(ANNA, &accept);
    office.fails(("mallory", 4104), &["approval", "approve", &id, "--yes"], 7, "no officer has the key");
    office.approves(BERT, &id);
    office.json(ANNA, &with(&accept, &["--request", &id]));
    let record = office.record("officers-changed");
    assert_eq!(record["about"]["approval"]["approved_by"]["officer"], "bert", "{record}");
    office.requests(("mallory", 4104), ALLOW);
}

#[test]
fn files_of_officers_that_cannot_be_used_are_refused() {
    let office = Office::with(r#"["grant-change"]"#);
    let good = fs::read_to_string(office.at("officers.toml")).unwrap();
    for (text, message) in [
        (good.replace("bert", "anna"), "there twice"),
        (good.replace("bert", "Anna"), "there twice"),
        (good.replace("name =", "nme ="), "unknown field"),
        (good.replace("version = 1", "version = 2"), "version 2"),
        ("version = 1\n".to_owned(), "it names 0 officers"),
        (good.replace("BEGIN PUBLIC KEY", "BEGIN PRIVATE KEY"), "no public key"),
    ] {
        fs::write(office.at("officers.toml"), text).unwrap();
        office.fails(ANNA, ALLOW, 2, message);
    }
    fs::write(office.at("officers.toml"), &good).unwrap();
    fs::set_permissions(office.at("officers.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    office.fails(ANNA, ALLOW, 7, "officers.toml");
    fs::remove_file(office.at("officers.toml")).unwrap();
    office.fails(ANNA, ALLOW, 3, "officers.toml");
    assert_eq!(office.grants(), "");
    office.configure(r#"["no-such-act"]"#);
    office.fails(ANNA, ALLOW, 2, "no-such-act");
}

#[test]
fn a_state_directory_alone_does_not_avoid_the_second_officer() {
    let office = Office::with(ALL);
    office.json(ANNA, &["approval", "list"]);
    let state = office.at("state");
    let mut command = office.command(ANNA, &["run", "allow-again", "r", "--reason", "x", "--state", state.to_str().unwrap()]);
    let done = command.env_remove("STATIONMASTER_CONFIG").output().unwrap();
    assert_eq!(done.status.code(), Some(7), "{}", said(&done));
    assert!(said(&done).contains("name its configuration with --config"), "{}", said(&done));
}

#[test]
fn a_completed_stop_runs_once_more_only_after_a_second_officer_agreed() {
    let scene = Scene::pinned();
    let done = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    scene.station.post_run(&done.run_id).unwrap();
    let office = Office::with(ALL);
    let station = fs::read_to_string(scene.station.state().join("test.toml")).unwrap();
    let four_eyes = format!("\n[four_eyes]\nacts = {ALL}\nofficers = \"{}\"\n", office.at("officers.toml").display());
    fs::write(office.at("s.toml"), station + &four_eyes).unwrap();
    let again = ["run", "allow-again", &done.run_id, "--reason", "results lost"];
    let id = office.requests(ANNA, &again);
    let run = || office.json(ANNA, &["run", "show", &done.run_id]);
    let before = run();
    office.fails(ANNA, &with(&again, &["--request", &id]), 9, "no second officer has approved");
    assert_eq!(run(), before);
    office.approves(BERT, &id);
    office.fails(ANNA, &["run", "allow-again", &done.run_id, "--reason", "another", "--request", &id], 7, "was approved for");
    office.json(ANNA, &with(&again, &["--request", &id]));
    assert_ne!(run(), before);
    assert_eq!(office.record("run-allowed-again")["about"]["approval"]["approved_by"]["officer"], "bert");
}

#[test]
fn without_guarded_acts_nothing_needs_a_request() {
    let office = Office::with("[]");
    office.json(ANNA, ALLOW);
    assert!(office.record("access-changed")["about"].get("approval").is_none());
    let id = "0193a1c2-7b1e-7c55-9d52-5f6f3a0c7f10";
    office.fails(ANNA, &with(ALLOW, &["--request", id]), 2, "needs no approval");
}
