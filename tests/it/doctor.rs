//! `doctor` names what is wrong with a real station, and only that: each test breaks one thing of a station that it finds healthy.

mod broken;
mod certificates;
mod nodes;

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{PROGRAM, Station, listen_on_tcp};

/// A station that has served, and is stopped: on a Unix socket and on TCP, with a trust file.
struct Patient {
    station: Station,
}

/// What `doctor` said.
#[derive(Debug)]
struct Diagnosis {
    code: Option<i32>,
    answer: Value,
}

/// A node of the tree without those below it.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    name: String,
    subject: Option<String>,
    state: String,
    cause: String,
    remedy: String,
}

impl Patient {
    #[track_caller]
    fn new() -> Self {
        let mut station = Station::with("hospital-1").start_pinned_and(listen_on_tcp);
        station.stop();
        let patient = Self { station };
        let healthy = patient.diagnosis();
        assert!(healthy.code == Some(0) && healthy.failures().is_empty(), "the station is not healthy: {healthy:#?}");
        patient
    }

    /// Changes the configuration.
    fn configure(&mut self, change: impl FnOnce(&mut toml::Table)) {
        self.station.configure(|config| {
            config.remove("trust");
            listen_on_tcp(config);
            change(config);
        });
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.env("SOFTHSM2_CONF", self.station.softhsm_conf()).stdin(Stdio::null());
        command.args(["--output", "json", "doctor", "--config"]).arg(self.station.state().join("test.toml")).args(arguments);
        command
    }

    #[track_caller]
    fn diagnosis(&self) -> Diagnosis {
        Diagnosis::of(self.command(&[]))
    }

    fn path(&self, name: &str) -> String {
        self.station.state().join(name).to_str().unwrap().to_owned()
    }

    /// Checks that exactly one node fails, with this cause and this command.
    #[track_caller]
    fn fails_in(&self, node: &str, cause: &str, remedy: &str) -> Diagnosis {
        let diagnosis = self.diagnosis();
        diagnosis.is_only(node, cause, remedy);
        diagnosis
    }
}

impl Diagnosis {
    #[track_caller]
    fn of(mut command: Command) -> Self {
        let done = command.output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let line = text.lines().last().unwrap_or_else(|| panic!("{done:?}"));
        Self { code: done.status.code(), answer: serde_json::from_str(line).unwrap() }
    }

    /// All nodes without those below them.
    fn all(&self) -> Vec<Node> {
        fn walk(nodes: &Value, all: &mut Vec<Node>) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for node in nodes.as_array().unwrap() {
                if node["nodes"].as_array().unwrap().is_empty() {
                    all.push(Node {
                        name: text(&node["name"]),
                        subject: node["subject"].as_str().map(str::to_owned),
                        state: text(&node["state"]),
                        cause: text(&node["cause"]),
                        remedy: text(&node["remedy"]),
                    });
                }
                walk(&node["nodes"], all);
            }
        }
        let mut all = Vec::new();
        walk(&self.answer["nodes"], &mut all);
        all
    }

    fn failures(&self) -> Vec<Node> {
        self.all().into_iter().filter(|node| node.state == "failure").collect()
    }

    #[track_caller]
    fn is_only(&self, node: &str, cause: &str, remedy: &str) {
        let failures = self.failures();
        let [failure] = &failures[..] else { panic!("not one failure: {failures:#?}") };
        assert_eq!((failure.name.as_str(), self.code), (node, Some(8)), "{failure:#?}");
        assert!(failure.cause.contains(cause), "the cause is not {cause:?}: {failure:#?}");
        assert!(failure.remedy.contains(remedy), "the remedy is not {remedy:?}: {failure:#?}");
        assert_eq!(self.answer["state"], "failure");
    }
}
