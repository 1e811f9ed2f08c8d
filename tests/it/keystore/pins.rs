//! The user PIN is changed, replaced and set by one program; nothing is changed by what is wrong, and no wrong PIN is tried twice.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::Stdio,
};

use serde_json::Value;

use super::made::{Bench, says};
use crate::support::PROGRAM;

/// A bench with a token, and its PIN at the configured place.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.done(&["token", "init", "--so-pin-file", &bench.path("so-pin")]);
    bench
}

fn latch(bench: &Bench) -> bool {
    Path::new(&bench.path("state/pin-latch")).exists()
}

#[track_caller]
fn works(bench: &Bench, pin: &str) {
    bench.pin("pin", &format!("{pin}\n"));
    let config = bench.path("c.toml");
    bench.done(&["key", "list", "--config", &config]);
}

#[test]
fn the_user_pin_is_changed_with_the_present_one_and_nothing_is_changed_by_a_wrong_one() {
    let bench = bench();
    let (new, short) = (bench.path("new"), bench.path("short"));
    bench.pin("new", "8642\n");
    bench.pin("short", "12\n");

    let refused = bench.fails(&["pin", "change", "--new-pin-file", &short]);
    assert!(says(&refused, "message", "4 to 255 bytes") && says(&refused, "message", "nothing was changed"), "{refused}");
    let same = bench.fails(&["pin", "change", "--new-pin-file", &bench.path("pin")]);
    assert!(says(&same, "message", "is the present one"), "{same}");
    bench.pin("wrong", "9999\n");
    let wrong = ["pin", "change", "--pin-file", &bench.path("wrong"), "--new-pin-file", &new];
    let first = bench.fails(&wrong);
    assert!(says(&first, "message", "the token refused the PIN from"), "{first}");
    // It is tried once.
    let second = bench.fails(&wrong);
    assert!(says(&second, "message", "was refused before"), "{second}");
    works(&bench, "1234");

    let changed = bench.done(&["pin", "change", "--new-pin-file", &new]);
    assert!(changed["label"] == "pht" && says(&changed, "next", &bench.path("pin")), "{changed}");
    let old = bench.fails(&["key", "list", "--config", &bench.path("c.toml")]);
    assert!(says(&old, "message", "refused the PIN"), "{old}");
    works(&bench, "8642");

    let shown = bench.done(&["audit", "show", "--log", "officer"]);
    let of_change = |outcome: &str| {
        let records = shown["records"].as_array().unwrap();
        records.iter().any(|record| record["rpc"] == "pin change" && record["outcome"] == outcome)
    };
    assert!(of_change("ok") && of_change("failed"), "{shown}");
    let text = shown.to_string();
    assert!(!["8642", "9999"].iter().any(|pin| text.contains(&format!("\"{pin}\""))), "{text}");
}

#[test]
fn pins_come_from_standard_input_and_from_descriptors() {
    let bench = bench();
    let mut child = bench
        .command(&["pin", "change", "--pin-file", "-", "--new-pin-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"1234\n8642\n").unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{done:?}");
    works(&bench, "8642");

    bench.pin("new", "1357\n");
    let script = format!("exec {PROGRAM} pin change --new-pin-file fd:7 7< {}", bench.path("new"));
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).env("SOFTHSM2_CONF", &bench.conf).env("STATIONMASTER_CONFIG", bench.path("c.toml"));
    let done = shell.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    works(&bench, "1357");

    let closed = bench.fails(&["pin", "change", "--new-pin-file", "fd:99"]);
    assert!(says(&closed, "message", "the descriptor 99 is not open"), "{closed}");
    works(&bench, "1357");
}

#[test]
fn a_lost_pin_is_replaced_with_the_so_pin_and_refused_pins_are_permitted_again() {
    let bench = bench();
    bench.pin("pin", "8642\n");
    bench.fails(&["key", "list", "--config", &bench.path("c.toml")]);
    assert!(latch(&bench), "the wrong PIN is not remembered");

    bench.pin("wrong", "000000\n");
    let refused = bench.fails(&["pin", "unblock", "--so-pin-file", &bench.path("wrong")]);
    assert!(says(&refused, "message", "refused the SO PIN") && latch(&bench), "{refused}");
    let same = bench.fails(&["pin", "unblock", "--so-pin-file", &bench.path("so-pin"), "--new-pin-file", &bench.path("so-pin")]);
    assert!(says(&same, "message", "are the same"), "{same}");

    bench.done(&["pin", "unblock", "--so-pin-file", &bench.path("so-pin")]);
    assert!(!latch(&bench), "the PIN that is now right stays refused");
    works(&bench, "8642");
}

#[test]
fn all_slots_are_listed_without_a_login() {
    let bench = bench();
    let is = |token: &Value, flag: &str| token["flags"][flag] == true;
    for arguments in [&["token", "list"][..], &["token", "list", "--module", crate::support::token::softhsm().to_str().unwrap()]]
    {
        let listed = bench.done(arguments);
        let [made, blank] = &listed["tokens"].as_array().unwrap()[..] else { panic!("{listed}") };
        let (made, blank) = if made["label"] == "pht" { (made, blank) } else { (blank, made) };
        assert!(is(made, "initialised") && is(made, "user_pin_set") && !is(blank, "initialised"), "{listed}");
        let uri = made["uri"].as_str().unwrap();
        let serial = made["serial"].as_str().unwrap();
        assert!(uri.starts_with("pkcs11:") && uri.contains("token=pht") && uri.contains(serial), "{listed}");
        assert!(made["pin_bytes"]["min"] == 4 && made.get("free_bytes").is_some(), "{listed}");
    }
    assert!(fs::read_dir(bench.path("state")).unwrap().all(|entry| entry.unwrap().file_name() != "pin-latch"));
}

/// Returns the state of a node.
#[track_caller]
fn node<'a>(answer: &'a Value, name: &str) -> &'a Value {
    fn find<'a>(nodes: &'a Value, name: &str) -> Option<&'a Value> {
        nodes.as_array()?.iter().find_map(|node| if node["name"] == name { Some(node) } else { find(&node["nodes"], name) })
    }
    find(&answer["tokens"], name).unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn the_status_tells_without_a_login_whether_one_would_be_tried_and_the_self_test_makes_one() {
    let bench = bench();
    let run = |command: &str| {
        let done = bench.program(&["token", command]);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let answer: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        (done.status.code(), answer)
    };
    let (code, status) = run("status");
    assert!(code == Some(0) && node(&status, "login")["state"] == "success", "{status}");
    assert_eq!(node(&status, "keys")["state"], "skipped");
    let (code, test) = run("self-test");
    assert!(code == Some(8) && node(&test, "key")["state"] == "failure", "{test}");
    assert!(says(node(&test, "key"), "remedy", "`stationmaster key generate "), "{test}");
    for (label, purpose) in [("hospital-1", "train"), ("audit", "audit")] {
        bench.done(&["key", "generate", label, "--purpose", purpose, "--bits", "2048"]);
    }
    let (code, test) = run("self-test");
    assert!(code == Some(0) && node(&test, "keys")["state"] == "success", "{test}");
    assert!(says(node(&test, "key"), "cause", "generated in the token, never extractable"), "{test}");

    // A wrong PIN: the status tries none, the self-test one, and then the status says so.
    bench.pin("pin", "8642\n");
    let (code, status) = run("status");
    assert!(code == Some(0) && !latch(&bench), "{status}");
    let (code, test) = run("self-test");
    assert!(code == Some(8) && says(node(&test, "login"), "cause", "the token refused the PIN"), "{test}");
    assert_eq!(node(&test, "keys")["state"], "skipped");
    let (code, status) = run("status");
    assert!(code == Some(8) && says(node(&status, "login"), "cause", "was refused before"), "{status}");
    assert!(says(node(&status, "login"), "remedy", "`stationmaster pin unblock --config"), "{status}");
}

/// Runs the program on a terminal and types each answer after its prompt. Returns the exit code and all that was on the terminal.
fn typed(bench: &Bench, arguments: &str, answers: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &format!("{PROGRAM} {arguments}"), "/dev/null"]);
    script.env("SOFTHSM2_CONF", &bench.conf).env("STATIONMASTER_CONFIG", bench.path("c.toml"));
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script of util-linux");
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    for (prompt, answer) in answers {
        while !String::from_utf8_lossy(&seen).trim_end().ends_with(prompt) {
            let mut byte = [0];
            assert_eq!(output.read(&mut byte).unwrap(), 1, "no {prompt:?}: {}", String::from_utf8_lossy(&seen));
            seen.push(byte[0]);
        }
        // The echo is switched off after the prompt.
        std::thread::sleep(std::time::Duration::from_millis(300));
        input.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    output.read_to_end(&mut seen).unwrap();
    (child.wait().unwrap().code(), String::from_utf8_lossy(&seen).into_owned())
}

#[test]
fn a_new_pin_is_typed_twice_without_an_echo() {
    let bench = bench();
    let (first, again) = ("new user PIN:", "new user PIN, again:");
    let (code, seen) = typed(&bench, "pin change", &[(first, "8642"), (again, "8643")]);
    assert!(code == Some(2) && seen.contains("nothing was changed"), "{seen}");
    works(&bench, "1234");
    let (code, seen) = typed(&bench, "pin change", &[(first, "8642"), (again, "8642")]);
    assert!(code == Some(0) && !seen.contains("864"), "{seen}");
    works(&bench, "8642");
    let unblock = [("SO PIN:", "567890"), (first, "1357"), (again, "1357")];
    let unblock: Vec<_> = unblock.iter().map(|(prompt, answer)| (prompt.trim_start_matches("new "), *answer)).collect();
    let config = fs::read_to_string(bench.path("c.toml")).unwrap();
    fs::write(bench.path("c.toml"), config.replace(&format!("pin_file = {:?}\n", bench.path("pin")), "")).unwrap();
    let (code, seen) = typed(&bench, "pin unblock", &unblock);
    assert!(code == Some(0) && !seen.contains("1357") && !seen.contains("567890"), "{seen}");
    fs::write(bench.path("c.toml"), config).unwrap();
    works(&bench, "1357");
}
