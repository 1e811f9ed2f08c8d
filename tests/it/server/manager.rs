//! What systemd hears (`Type=notify`), and that SIGHUP never ends the service.

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{PATIENCE, Station};

/// The service manager's end of `$NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    /// Waits for a message that begins so; answers all of it. Watchdog and status messages may come between.
    #[track_caller]
    fn hears(&self, begins: &str) -> String {
        let begun = Instant::now();
        let mut seen = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            match self.0.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if text.starts_with(begins) {
                        return text;
                    }
                    seen.push(text);
                }
                Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
            }
            assert!(begun.elapsed() < PATIENCE, "{begins:?} never came: {seen:?}");
        }
    }
}

#[test]
fn systemd_hears_ready_what_is_missing_reloads_and_the_end() {
    let layouts = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").layouts(layouts.path()).start();
    station.stop();
    let socket = station.state().join("notify.sock");
    let manager = Manager(UnixDatagram::bind(&socket).unwrap());
    manager.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    station.set_env("NOTIFY_SOCKET", Some(socket.to_str().unwrap()));
    station.set_env("WATCHDOG_USEC", Some("600000"));
    // A trust file is missing: that must not keep systemd waiting, and is said.
    station.configure(|config| drop(config.remove("trust")));
    station.spawn();
    manager.hears("STATUS=starting");
    let status = manager.hears("STATUS=NOT_SERVING");
    assert!(status.contains("trust: ") && status.contains("trust.toml"), "{status}");
    manager.hears("READY=1");
    assert!(station.socket().exists(), "it is not ready before it listens");
    manager.hears("WATCHDOG=1");

    // No TCP is configured, so there is nothing to read again; the service continues.
    station.signal(Signal::HUP);
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hears("READY=1");
    assert!(station.log().contains("SIGHUP"), "{}", station.log());
    station.edit_trust(|_| {});
    manager.hears("STATUS=SERVING");
    assert_eq!(station.health().unwrap(), "SERVING");

    station.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert!(station.wait().success(), "{}", station.log());
}

#[test]
fn a_service_manager_that_reads_nothing_holds_nothing_up() {
    let layouts = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").layouts(layouts.path()).start();
    station.stop();
    let socket = station.state().join("notify.sock");
    let silent = UnixDatagram::bind(&socket).unwrap();
    station.set_env("NOTIFY_SOCKET", Some(socket.to_str().unwrap()));
    // The kernel holds some datagrams; these are more.
    station.set_env("WATCHDOG_USEC", Some("3000"));
    station.configure(|_| {});
    station.start_again();
    for _ in 0..20 {
        station.signal(Signal::HUP);
        station.keys().unwrap();
    }
    station.stop();
    drop(silent);
}
