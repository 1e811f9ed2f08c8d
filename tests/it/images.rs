//! Images that are not opened: whether they are what their master says, and that they are the same wherever they lie.

use std::process::{Command, Output, Stdio};

use crate::support::PROGRAM;

mod archives;
mod attacks;
mod dress;
mod engine_says;
mod engines;
pub mod foreign_bytes;
pub mod full_load;
pub mod inputs;
mod layers;
pub mod layouts;
mod masters;
mod memory;
pub mod tarfile;
mod validate;
mod volumes;

/// A command that needs neither service nor engine, and finds none.
fn offline(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("STATIONMASTER_ADDRESS", "unix:///nowhere").env("DOCKER_HOST", "unix:///nowhere");
    command.stdin(Stdio::null()).output().expect("the program")
}
