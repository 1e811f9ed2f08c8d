//! The command line as people and programs use it.

mod config_check;
mod exit_codes;
mod files;
mod flow;
mod given_files;
mod lost_output;
mod manual;
mod messages;
mod own_token;
mod refused;
mod terminal;
mod tls;
mod written_files;

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::Station;

/// What a command that must succeed wrote to standard output.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let done = command.output().expect("the program");
    assert!(done.status.success(), "{command:?}: {}", said(&done));
    String::from_utf8(done.stdout).expect("text")
}

/// The last line of a command that must succeed, asked for JSON.
#[track_caller]
pub fn json(station: &Station, arguments: &[&str]) -> Value {
    last_line(&output(station.client_command(arguments).args(["--output", "json"])))
}

#[track_caller]
pub fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("the last line is no JSON: {text}"))
}

pub fn said(done: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    format!("{}\n{out}{err}", done.status)
}
