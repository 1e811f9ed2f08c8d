//! The ledger, by the commands of an administrator and by trains that are replayed, against a running service.

pub mod administrator;
mod backup;
mod behind;
mod life;
mod replay;
mod sessions;
mod start;

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::{
    cli::{last_line, output, said},
    support::{PROGRAM, Station},
};

/// An administrator's command on a station's state directory.
fn office(station: &Station, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("STATIONMASTER_CONFIG").args(arguments).arg("--state").arg(station.state()).stdin(Stdio::null());
    command
}

/// What a command that must succeed answers to a program.
#[track_caller]
fn json(station: &Station, arguments: &[&str]) -> Value {
    last_line(&output(office(station, arguments).args(["--output", "json"])))
}

/// A command that must fail: with this exit code, and with a hint that says this.
#[track_caller]
fn fails(station: &Station, arguments: &[&str], exit: i32, hint: &str) -> Output {
    let done = office(station, arguments).output().expect("the program");
    assert_eq!(done.status.code(), Some(exit), "{arguments:?}: {}", said(&done));
    assert!(said(&done).contains(hint), "{arguments:?}: {}", said(&done));
    done
}

/// The station's ledger, changed past every program of ours.
fn sql(station: &Station, statements: &'static str) {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
    let file = station.state().join(stationmaster::state::LEDGER);
    crate::support::block_on(async move {
        let mut connection = SqliteConnectOptions::new().filename(file).connect().await.expect("a database");
        sqlx::raw_sql(statements).execute(&mut connection).await.expect("statements");
        connection.close().await.expect("the end");
    });
}
