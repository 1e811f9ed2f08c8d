//! Keys come into a token and are destroyed with a second officer's approval only.

use serde_json::json;
use stationmaster_keystore::softhsm;

use super::*;
use crate::support::token;

/// An office with a token, and the environment of its module.
struct TokenOffice {
    office: Office,
    conf: PathBuf,
}

impl TokenOffice {
    fn new() -> Self {
        let office = Office::with(r#"["key-import", "key-destroy"]"#);
        let conf = softhsm::write_conf(&office.at("softhsm")).unwrap();
        for (name, pin) in [("pin", "1234\n"), ("so-pin", "567890\n")] {
            fs::write(office.at(name), pin).unwrap();
            fs::set_permissions(office.at(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let config = fs::read_to_string(office.at("s.toml")).unwrap();
        let token = format!(
            "module = {:?}\nlabel = \"t\"\npin_file = {:?}\nallow_raw_unwrap = true\n",
            token::softhsm(),
            office.at("pin")
        );
        fs::write(office.at("s.toml"), config.replace("module = \"/m.so\"\nlabel = \"t\"\n", &token)).unwrap();
        let office = Self { office, conf };
        office.json(ANNA, &["token", "init", "--so-pin-file", office.office.at("so-pin").to_str().unwrap()]);
        office
    }

    fn command(&self, officer: (&str, u32), arguments: &[&str]) -> Command {
        let mut command = self.office.command(officer, arguments);
        command.env("SOFTHSM2_CONF", &self.conf).args(["--output", "json"]);
        command
    }

    #[track_caller]
    fn json(&self, officer: (&str, u32), arguments: &[&str]) -> Value {
        last_line(&output(&mut self.command(officer, arguments)))
    }

    #[track_caller]
    fn fails(&self, officer: (&str, u32), arguments: &[&str], exit: i32, message: &str) -> Value {
        let done = self.command(officer, arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(exit), "{arguments:?}: {}", said(&done));
        assert!(said(&done).contains(message), "{arguments:?}: {}", said(&done));
        last_line(&String::from_utf8(done.stdout).unwrap())["error"].clone()
    }

    fn labels(&self) -> Value {
        let config = self.office.at("s.toml");
        let listed = self.json(ANNA, &["key", "list", "--config", config.to_str().unwrap()]);
        listed["keys"].as_array().unwrap().iter().map(|key| key["label"].clone()).collect()
    }

    /// Requests an act with one officer, and approves it as another.
    #[track_caller]
    fn approved(&self, arguments: &[&str]) -> String {
        let error = self.fails(ANNA, arguments, 9, "a second officer must approve");
        let id = error["metadata"]["request"].as_str().unwrap().to_owned();
        self.office.approves(BERT, &id);
        id
    }
}

#[test]
fn a_key_is_imported_and_destroyed_after_another_officers_approval_only() {
    let scene = TokenOffice::new();
    let (key, other) = (Rsa::generate(2048).unwrap(), Rsa::generate(2048).unwrap());
    let file = scene.office.at("station.pem");
    let put = |key: &Rsa<Private>| {
        fs::write(&file, key.private_key_to_pem().unwrap()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    put(&key);
    let import = ["key", "import", "s", "--key", file.to_str().unwrap(), "--purpose", "train", "--reason", "ticket 4711"];
    let id = scene.approved(&import);
    assert_eq!(scene.labels(), json!([]), "a request changes nothing");
    // The request names the key by its fingerprint: another key in the file is not what was approved.
    put(&other);
    scene.fails(ANNA, &with(&import, &["--request", &id]), 7, "fingerprint");
    assert_eq!(scene.labels(), json!([]));
    put(&key);
    let made = scene.json(ANNA, &with(&import, &["--request", &id]));
    assert_eq!(scene.labels(), json!(["s"]));
    let record = scene.office.record("key-imported");
    assert!(record.to_string().contains("anna") && record.to_string().contains("bert"), "{record}");

    let fingerprint = made["fingerprint"].as_str().unwrap();
    let destroy =
        ["key", "destroy", "s", "--reason", "it is in a file, too", "--yes", "--fingerprint", fingerprint, "--force-configured"];
    let id = scene.approved(&destroy);
    assert_eq!(scene.labels(), json!(["s"]));
    scene.fails(ANNA, &with(&destroy[..8], &["--request", &id]), 4, "the configuration names");
    scene.json(ANNA, &with(&destroy, &["--request", &id]));
    assert_eq!(scene.labels(), json!([]));
    // An approval is for one act.
    put(&key);
    scene.fails(ANNA, &with(&destroy, &["--request", &id]), 3, "");
    let record = scene.office.record("key-destroyed");
    assert!(record.to_string().contains("anna") && record.to_string().contains("bert"), "{record}");
}
