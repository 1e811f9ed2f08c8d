//! Health is of the moment of the call, for all that is a file: what is mended is seen at once, and what breaks, too.

use std::fs;

use crate::{
    cli::said,
    support::{Station, pinned, set},
};

/// One look, with every component's reason.
fn told(station: &Station) -> String {
    said(&station.socket_command(&["health"]).output().unwrap())
}

#[test]
fn a_broken_file_and_a_repaired_one_are_seen_by_the_next_call() {
    let layouts = tempfile::tempdir().unwrap();
    let mut station = Station::with("a").layouts(layouts.path()).start();
    station.stop();
    station.edit_trust(|_| {});
    station.configure(pinned);
    station.start_again();
    for (component, name) in [("trust", "trust.toml"), ("access", "access.toml")] {
        let file = station.state().join(name);
        let good = fs::read(&file).unwrap();
        for _ in 0..5 {
            fs::write(&file, "[[").unwrap();
            let broken = told(&station);
            assert!(broken.contains(&format!("{component}: unusable")) && broken.contains(name), "{broken}");
            assert_eq!(station.health().unwrap(), "NOT_SERVING");
            fs::write(&file, &good).unwrap();
            assert_eq!(station.health().unwrap(), "SERVING");
            assert!(told(&station).contains("\nSERVING\n"), "{}", told(&station));
        }
    }
}

#[test]
fn layouts_that_are_away_are_named_by_health_and_seen_at_once() {
    let outside = tempfile::tempdir().unwrap();
    let layouts = outside.path().join("layouts");
    fs::create_dir(&layouts).unwrap();
    let mut station = Station::with("a").layouts(&layouts).start();
    station.stop();
    station.configure(|config| set(config, "layouts", "directory", layouts.to_str().unwrap()));
    station.start_again();
    fs::rename(&layouts, outside.path().join("away")).unwrap();
    let broken = told(&station);
    assert!(broken.contains("layouts: unusable") && broken.contains(layouts.to_str().unwrap()), "{broken}");
    fs::rename(outside.path().join("away"), &layouts).unwrap();
    assert!(told(&station).contains("\nSERVING\n"), "{}", told(&station));
}

#[test]
fn a_flood_of_questions_about_health_is_answered() {
    let layouts = tempfile::tempdir().unwrap();
    let station = Station::with("a").layouts(layouts.path()).start_configured(|_| {});
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(station.health().unwrap(), "SERVING"));
        }
    });
}
