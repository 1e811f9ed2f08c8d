//! README's steps work as they are typed: its blocks are taken out and given to a shell, and a train passes the station they make.
//!
//! Twice: here without systemd, in namespaces of this machine, and (`make readme`) in a fresh Debian 12 whose first process is systemd.

mod machine;

use std::{collections::BTreeMap, fs};

use machine::{Container, Machine, Namespaces};

use crate::support::{Peer, Seat, Train};

const README: &str = include_str!("../../README.md");
const CONFIG: &str = "/etc/stationmaster/stationmaster.toml";

/// A numbered step: its blocks, and who types them.
struct Step {
    user: String,
    blocks: Vec<String>,
}

/// The numbered steps, from 1.
fn steps() -> BTreeMap<usize, Step> {
    let section =
        README.split("## A station, step by step").nth(1).expect("the steps").split("\n## ").next().expect("their text");
    let mut steps = BTreeMap::<usize, Step>::new();
    let mut last = 0;
    for line in section.lines() {
        let number = line.split_once(". **").and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number {
            assert_eq!(number, last + 1, "{line}");
            last = number;
            let user = line.split("**, as `").nth(1).and_then(|rest| rest.split('`').next()).unwrap_or("root");
            steps.insert(number, Step { user: user.to_owned(), blocks: Vec::new() });
            continue;
        }
        let Some(step) = steps.get_mut(&last) else { continue };
        // A block is four further in than its step's text.
        let indent = if last < 10 { 7 } else { 8 };
        match line.get(..indent).filter(|before| before.trim().is_empty()) {
            Some(_) => {
                if step.blocks.is_empty() {
                    step.blocks.push(String::new());
                }
                let block = step.blocks.last_mut().expect("one");
                block.push_str(&line[indent..]);
                block.push('\n');
            }
            None if line.is_empty() && step.blocks.last().is_some_and(|block| !block.is_empty()) => {
                step.blocks.push(String::new())
            }
            None => {}
        }
    }
    steps.values_mut().for_each(|step| step.blocks.retain(|block| !block.trim().is_empty()));
    steps
}

/// The block below a heading of another section.
fn block_below(heading: &str) -> String {
    let after = README.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading:?} in README"));
    let lines = after.lines().skip_while(|line| !line.starts_with("    ")).take_while(|line| line.starts_with("    "));
    lines.map(|line| format!("{}\n", line.trim_start())).collect()
}

/// README's own texts that stand for something of the reader's, and what stands for them here.
fn typed(text: &str, train: Option<&Train>) -> String {
    let Some(train) = train else { return text.to_owned() };
    assert!(README.contains("harbor.example/station/train:latest"));
    text.replace("harbor.example/station/train:latest", &train.image)
}

/// Types the ten steps at a machine. `train` is told when there is one, to bring it to the machine's engine.
fn follow(machine: &dyn Machine, train_is_made: impl FnOnce(&Train)) {
    let steps = steps();
    assert_eq!(steps.keys().copied().collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    let step = |number: usize, train: Option<&Train>| {
        let step = &steps[&number];
        assert!(!step.blocks.is_empty(), "step {number} has no block");
        step.blocks.iter().map(|block| machine.types(&step.user, &typed(block, train))).collect::<String>()
    };
    for number in 1..=3 {
        step(number, None);
    }
    let hex_pem = step(4, None).trim().to_owned();
    assert!(hex_pem.starts_with("2d2d2d2d2d424547494e"), "no public key in the registry's form: {hex_pem}");

    // The creator makes a train for this station and a train_lib station after it.
    let keys = tempfile::tempdir().unwrap();
    let next = Peer::newest().station("hospital-2", 2048, keys.path());
    let route = [Seat { id: "hospital-1".into(), hex_pem }, Seat { id: next.id.clone(), hex_pem: next.hex_pem.clone() }];
    let train = Train::of(&route).created_by("alice").make();
    train_is_made(&train);
    for (name, hex_pem) in [("alice.pem", &train.creator().hex_pem), ("hospital-2.pem", &next.hex_pem)] {
        machine.gets(name, &const_hex::decode(hex_pem).unwrap());
    }
    step(5, Some(&train));
    step(6, Some(&train));
    let health = step(7, Some(&train));
    assert!(health.lines().any(|line| line == "SERVING") && health.contains("engine"), "{health}");
    let run = step(8, Some(&train));
    assert!(run.contains("Result files"), "{run}");
    let runs = step(9, Some(&train));
    assert!(runs.contains("completed"), "{runs}");
    let audit = step(10, Some(&train));
    assert!(audit.contains("pre-run") || audit.contains("PreRun"), "{audit}");
    // The results that the station sealed are those of the train's algorithm, by the creator's own check.
    machine.brings_back(&train.image);
    assert_eq!(train.open(&[]).files, train.expected_results(1));
}

#[test]
fn the_steps_make_a_station_that_a_train_passes() {
    let machine = Namespaces::start();
    follow(&machine, |_| {});
    // Nothing of the token or the state belongs to another user than the service's, but what administrators keep.
    let temporary = machine.types("root", "find /var/lib/stationmaster /var/lib/softhsm/tokens -mindepth 1 -name '*.new' -print");
    assert_eq!(temporary, "");
    // An upgrade, here to the same version: what ran is known afterwards.
    let health = machine.types("root", &block_below("## Upgrade and uninstall"));
    assert!(health.lines().any(|line| line == "SERVING"), "{health}");
    let state = format!("stationmaster run list --config {CONFIG}");
    assert!(machine.types("root", &state).contains("completed"));
    machine.types("root", &block_below("To uninstall, first end every open run"));
    let left = "! command -v stationmaster && test -s /var/lib/stationmaster/ledger.sqlite && test -s /etc/stationmaster/stationmaster.toml";
    machine.types("root", left);
}

#[test]
#[ignore = "needs a fresh Debian as an image: `make readme`"]
fn the_steps_make_a_station_on_a_fresh_debian_with_systemd() {
    let machine = Container::start();
    follow(&machine, |train| machine.takes_image(&[&train.image, &train.base]));
    let shown = machine.types("root", "systemctl show stationmaster -p Type -p StatusText -p ActiveState");
    for line in ["Type=notify", "StatusText=SERVING", "ActiveState=active"] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    // A reload goes on, with only the Unix socket configured.
    machine.types("root", "systemctl reload stationmaster && sleep 1 && stationmaster health");
    // Its warnings are found by their priority.
    let warned = machine.types("root", &format!("mv {} /root/trust.toml; sleep 5; stationmaster health || true; journalctl -u stationmaster -p warning -o cat; mv /root/trust.toml {}", trust(), trust()));
    assert!(warned.contains("cannot be used"), "{warned}");
    machine.types("root", "stationmaster health --wait 60");
    // The other way to the PIN.
    machine.types("root", &block_below("**The PIN as a systemd credential**"));
    machine.types("root", "stationmaster health --wait 60");
    // The unit's filter of system calls lets the token's process make its sandbox, and stopping the unit ends it in order.
    machine.types(
        "root",
        &format!("sed -i 's/^allow_raw_unwrap.*/&\\nisolation = \"process\"/' {CONFIG}; systemctl restart stationmaster && stationmaster health --wait 60"),
    );
    let process = machine.types(
        "root",
        "grep -l token-worker /proc/[0-9]*/cmdline; grep -h ^Seccomp: /proc/$(pgrep -f token-worker | head -1)/status",
    );
    assert!(process.contains("/cmdline"), "{process}");
    machine.types("root", "systemctl stop stationmaster && ! systemctl is-failed stationmaster");
    // A wrong configuration is not tried again and again.
    machine.types(
        "root",
        &format!("sed -i 's/^allow_raw_unwrap.*/allow_raw_unwrap = false/' {CONFIG}; ! systemctl start stationmaster"),
    );
    let failed = machine.types("root", "systemctl show stationmaster -p ActiveState -p NRestarts -p ExecMainStatus");
    for line in ["ActiveState=failed", "NRestarts=0", "ExecMainStatus=2"] {
        assert!(failed.lines().any(|shown| shown == line), "{line}: {failed}");
    }
}

fn trust() -> String {
    CONFIG.replace("stationmaster.toml", "trust.toml")
}

#[test]
fn the_shipped_unit_is_closed_as_far_as_it_can_be() {
    let unit = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/stationmaster.service")).unwrap();
    let settings: Vec<_> = unit.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    for setting in [
        "Type=notify",
        "NoNewPrivileges=yes",
        "SystemCallFilter=seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
        "ProtectSystem=strict",
        "PrivateDevices=yes",
        "PrivateMounts=yes",
        "RemoveIPC=yes",
        "IPAddressDeny=any",
        "MemoryMax=2G",
        "TasksMax=512",
        "CapabilityBoundingSet=",
    ] {
        assert!(settings.contains(&setting), "{setting} is not in the unit");
    }
    assert!(
        !settings.iter().any(|line| line.starts_with("LoadCredential")),
        "a credential that is not there keeps the unit from starting"
    );
    // Where systemd is installed it says so itself.
    let Ok(analysed) = std::process::Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/stationmaster.service"))
        .output()
    else {
        return;
    };
    assert!(analysed.status.success(), "exposure above 1.5:\n{}", String::from_utf8_lossy(&analysed.stdout));
}
