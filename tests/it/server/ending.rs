//! SIGTERM ends the service whatever hangs, and no reader that does not read holds up a call or the end.

use std::{fs::File, io::Write, os::fd::OwnedFd};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::Signal,
};
use stationmaster_proto::SignatureScheme;

use crate::support::{
    Disk, Station, disk,
    proxied::Proxied,
    proxy::{Do, READ, Way},
    set,
    token::TokenServer,
    wait_for,
};

/// A pipe that is full; as long as the first end is there, writing to the second waits.
fn full_pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let mut file = File::from(OwnedFd::from(writer.try_clone().unwrap()));
    while file.write(&[b'x'; 4096]).is_ok() {}
    while file.write(b"x").is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer.into())
}

#[test]
fn a_log_that_nothing_reads_holds_up_neither_calls_nor_the_end() {
    let layouts = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").layouts(layouts.path()).start_configured(|config| set(config, "log", "filter", "trace"));
    station.stop();
    let (reader, writer) = full_pipe();
    station.set_stderr(writer);
    station.start_again();
    for _ in 0..50 {
        station.keys().unwrap();
    }
    station.signal(Signal::TERM);
    assert!(station.wait().success());
    drop(reader);
}

#[test]
fn it_ends_with_a_full_disk_under_its_audit_which_health_reports() {
    let layouts = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("disk");
    let _disk = Disk::mount(&place, 4 << 10);
    let mut station = Station::with("a").layouts(layouts.path()).start_configured(|config| {
        set(config, "audit", "directory", place.to_str().unwrap());
        set(config, "audit", "reserve_mib", 1);
    });
    disk::fill(&place, 0);
    // What the audit keeps for itself is written full, too, before health is asked.
    while station.sign("a-general", SignatureScheme::RsaPssSha256, &[1; 32]).is_ok() {}
    wait_for("the full disk to be told of", || {
        // A shorter record may still find room.
        let _ = station.sign("a-general", SignatureScheme::RsaPssSha256, &[1; 32]);
        let told = station.socket_command(&["health"]).output().unwrap();
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        (text.contains("audit: unusable") || text.contains("disk: unusable")).then_some(())
    });
    station.signal(Signal::TERM);
    let ended = station.wait();
    assert!(ended.code().is_some(), "killed by a signal: {ended}");
}

/// A station whose token is behind a server, and does not run.
fn behind_a_token_server() -> (Station, TokenServer) {
    let mut station = Station::start("a");
    station.stop();
    let server = TokenServer::start(&station);
    station.set_env("P11_KIT_SERVER_ADDRESS", Some(&server.address));
    station.configure(|config| {
        set(config, "token", "module", TokenServer::client());
        set(config, "limits", "drain_s", 0);
    });
    (station, server)
}

#[test]
fn it_ends_with_a_token_that_hangs_under_a_call_and_is_whole_at_the_next_start() {
    let (mut station, server) = behind_a_token_server();
    station.start_again();
    station.sign("a-general", SignatureScheme::RsaPssSha256, &[1; 32]).unwrap();
    server.hang();
    std::thread::scope(|scope| {
        let station = &station;
        scope.spawn(|| station.sign("a-general", SignatureScheme::RsaPssSha256, &[1; 32]).expect_err("the token hangs"));
        wait_for("the token to be missed", || (station.health().ok()? == "NOT_SERVING").then_some(()));
        station.signal(Signal::TERM);
    });
    let ended = station.wait();
    assert!(ended.code().is_some(), "killed by a signal: {ended}");
    drop(server);
    let server = TokenServer::start(&station);
    station.set_env("P11_KIT_SERVER_ADDRESS", Some(&server.address));
    station.start_again();
    station.stop();
}

#[test]
fn it_ends_with_an_engine_that_hangs_under_a_step_and_undoes_the_step_later() {
    let mut proxied = Proxied::configured(|config| {
        config.insert("limits".into(), toml::toml! { drain_s = 0 }.into());
    });
    proxied.proxy.when(READ, Way::FromEngine, 1 << 20, Do::Stall);
    let (scene, proxy) = (&proxied.scene, &proxied.proxy);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| scene.pre_run());
        proxy.struck();
        // Twice, as an administrator does who does not want to wait.
        scene.station.signal(Signal::TERM);
        scene.station.signal(Signal::INT);
        call.join().unwrap().expect_err("the call was cut off");
    });
    let ended = proxied.scene.station.wait();
    assert!(ended.code().is_some(), "killed by a signal: {ended}");
    proxied.proxy.release();
    proxied.scene.station.start_again();
    assert!(!proxied.scene.pre_run().unwrap().repeated_answer);
}

#[test]
fn a_token_that_hangs_at_the_start_does_not_keep_the_service_from_ending() {
    let (mut station, server) = behind_a_token_server();
    server.hang_all();
    station.spawn();
    let held_by = || std::fs::read_to_string(station.state().join("lock")).ok()?.trim().parse().ok();
    wait_for("the start", || (held_by() == Some(station.pid())).then_some(()));
    // A hang-up is nothing to end for, not even now.
    wait_for("the hang-up to be seen", || {
        station.signal(Signal::HUP);
        station.log().contains("SIGHUP").then_some(())
    });
    station.signal(Signal::TERM);
    let ended = station.wait();
    assert!(ended.code().is_some(), "killed by a signal: {ended}");
    drop(server);
}
