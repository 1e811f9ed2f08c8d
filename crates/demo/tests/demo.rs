//! The demonstration passes on this machine, and says what is missing where it cannot run.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "tests end where something is wrong"
)]

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_stationmaster-demo");

#[test]
fn all_of_it_holds() {
    let state = tempfile::tempdir().unwrap();
    let done = Command::new(PROGRAM).arg("--state").arg(state.path()).output().unwrap();
    let (output, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(0), "{output}\n{errors}");
    assert!(output.contains("All checks passed"), "{output}");
}

#[test]
fn an_engine_that_does_not_answer_is_named_with_the_remedy() {
    let done = Command::new(PROGRAM).env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(6), "{errors}");
    assert!(errors.contains("/nonexistent/docker.sock") && errors.contains("hint: "), "{errors}");
}
