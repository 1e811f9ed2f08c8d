//! Ceremonies: what administrators did together, as a transcript that a key in the token signed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    cli::{last_line, output, said},
    support::{PROGRAM, Station},
};

struct Ceremony {
    station: Station,
    directory: tempfile::TempDir,
}

const TITLE: &str = "New key <script>alert(1)</script> & \"more\"";

impl Ceremony {
    fn new() -> Self {
        let new = Self { station: Station::start("a"), directory: tempfile::tempdir().unwrap() };
        let pem = output(&mut new.on_station(&["key", "export", "audit", "--format", "pem"]));
        fs::write(new.at("audit.pem"), pem).unwrap();
        new
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command that works on the station's token and state directory.
    fn on_station(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env_remove("STATIONMASTER_CONFIG").args(arguments).arg("--state").arg(self.station.state());
        command.stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        last_line(&output(self.on_station(arguments).args(["--output", "json"])))
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], exit: i32, message: &str) {
        let done = self.on_station(arguments).output().unwrap();
        assert_eq!(done.status.code(), Some(exit), "{arguments:?}: {}", said(&done));
        assert!(said(&done).contains(message), "{arguments:?}: {}", said(&done));
    }

    fn start(&self) -> Value {
        self.json(&["ceremony", "start", "--title", TITLE, "--participants", "Anna <A.>,Bert"])
    }

    /// Holds a ceremony in which a key is generated, and returns the key's fingerprint.
    fn hold(&self, label: &str, file: &str) -> String {
        self.start();
        let made = self.station.generate_key(label, "general", "rsa");
        let finished = self.json(&["ceremony", "finish", "-o", self.at(file).to_str().unwrap()]);
        assert_eq!(finished["state"], "finished");
        made["fingerprint"].as_str().unwrap().to_owned()
    }

    fn verify(&self, file: &Path, page: &Path, key: &str) -> std::process::Output {
        let mut command = Command::new(PROGRAM);
        command.args(["ceremony", "verify", "--output", "json"]).arg(file).arg("--page").arg(page);
        command.arg("--key").arg(self.at(key)).stdin(Stdio::null()).output().unwrap()
    }
}

#[test]
fn a_transcript_has_every_act_with_its_fingerprints_and_is_verified_with_the_public_key_alone() {
    let office = Ceremony::new();
    office.fails(&["ceremony", "status"], 5, "no ceremony is open");
    let before = office.station.generate_key("before", "general", "rsa");
    let fingerprint = office.hold("during", "c.json");
    let after = office.station.generate_key("after", "general", "rsa");
    office.fails(&["ceremony", "status"], 5, "no ceremony is open");

    let done = office.verify(&office.at("c.json"), &office.at("c.html"), "audit.pem");
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    let shown = last_line(&String::from_utf8(done.stdout).unwrap());
    assert_eq!((&shown["title"], &shown["participants"][0]), (&TITLE.into(), &"Anna <A.>".into()));
    let records = shown["records"].to_string();
    assert!(records.contains(&fingerprint) && records.contains("key-generated") && records.contains("unix:uid="), "{records}");
    let page = fs::read_to_string(office.at("c.html")).unwrap();
    assert!(page.contains(&fingerprint.replace('"', "")) && page.contains("key generate"), "{page}");
    for other in [before, after] {
        let other = other["fingerprint"].as_str().unwrap();
        assert!(!records.contains(other) && !page.contains(other), "an act outside the ceremony is in it");
    }
}

#[test]
fn any_change_of_the_transcript_or_its_page_is_found() {
    let office = Ceremony::new();
    office.hold("one", "c.json");
    office.hold("two", "d.json");
    let (file, page) = (office.at("c.json"), office.at("c.html"));
    let check = |file: &Path, page: &Path, key: &str, what: &str| {
        let done = office.verify(file, page, key);
        assert_eq!(done.status.code(), Some(8), "{what}: {}", said(&done));
    };
    check(&file, &office.at("d.html"), "audit.pem", "another ceremony's page");
    let pem = output(&mut office.on_station(&["key", "export", "one", "--format", "pem"]));
    fs::write(office.at("one.pem"), pem).unwrap();
    check(&file, &page, "one.pem", "another key");
    for of in [&file, &page] {
        let good = fs::read(of).unwrap();
        let changed = office.at("changed");
        for step in 0..40 {
            let at = step * (good.len() - 1) / 39;
            let mut bytes = good.clone();
            bytes[at] = if bytes[at] == b' ' { b'\t' } else { b' ' };
            fs::write(&changed, bytes).unwrap();
            let (file, page) = if of == &file { (&changed, &page) } else { (&file, &changed) };
            check(file, page, "audit.pem", &format!("byte {at} of {}", of.display()));
        }
        for bytes in [&good[..good.len() - 1], &[&good[..], b"\n"].concat(), b""] {
            fs::write(&changed, bytes).unwrap();
            let (file, page) = if of == &file { (&changed, &page) } else { (&file, &changed) };
            check(file, page, "audit.pem", "a shorter or longer file");
        }
    }
    let done = office.verify(&file, &page, "audit.pem");
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
}

#[test]
fn the_page_is_text_only_whatever_the_names_are() {
    let office = Ceremony::new();
    office.hold("key", "c.json");
    let page = fs::read_to_string(office.at("c.html")).unwrap();
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;") && page.contains("Anna &lt;A.&gt;"),
        "{page}"
    );
    for absent in ["<script", "<a ", "<img", "<link", "http://", "https://"] {
        assert!(!page.contains(absent), "{absent} is in {page}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn one_ceremony_is_open_at_a_time_and_a_refusal_leaves_it_open() {
    let office = Ceremony::new();
    let open = office.start();
    office.fails(&["ceremony", "start", "--title", "t", "--participants", "p"], 5, "is open");
    fs::write(office.at("there.json"), "x").unwrap();
    office.fails(&["ceremony", "finish", "-o", office.at("there.json").to_str().unwrap()], 5, "there.json");
    assert!(!office.at("there.html").exists());
    office.fails(&["ceremony", "finish", "-o", office.at("c.json").to_str().unwrap(), "--sign-with", "absent"], 3, "absent");
    assert!(!office.at("c.json").exists() && !office.at("c.html").exists());
    let status = office.json(&["ceremony", "status"]);
    assert_eq!((&status["ceremony"], &status["state"]), (&open["ceremony"], &"open".into()));
    office.json(&["ceremony", "abort", "--reason", "postponed"]);
    office.fails(&["ceremony", "finish", "-o", office.at("c.json").to_str().unwrap()], 5, "no ceremony is open");
}
