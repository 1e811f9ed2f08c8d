//! The user who delivers trains owns their layouts, and may put a link in the place of any name there at any moment.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::station;
use crate::support::{Station, Train, set, skopeo_layouts::Yard, tamper::refused};

/// A directory's files and what they hold.
fn holdings(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_link_that_is_planted_while_an_index_is_written_leads_the_service_nowhere() {
    let (yard, elsewhere) = (Yard::new(), tempfile::tempdir().unwrap());
    let station = station("a", &yard);
    let train = Train::of(&[station.seat()]).make();
    station.trust_train(&train);
    yard.take(&train);
    let (victim, layout, done) = (elsewhere.path().join("victim"), yard.layout(&train), AtomicBool::new(false));
    fs::write(&victim, "precious").unwrap();
    let opened = std::thread::scope(|scope| {
        // As fast as it can: the name that the index was written under before it got its own.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = symlink(&victim, layout.join(".index.json.stationmaster"));
            }
        });
        let opened = station.pre_run(&train.image);
        done.store(true, Ordering::Relaxed);
        opened
    });
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "a file outside of the layout was overwritten");
    let run = opened.unwrap();
    assert!(fs::symlink_metadata(layout.join("index.json")).unwrap().is_file());
    station.abort(&run.run_id).unwrap();
    let left = fs::read_dir(&layout).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = left.filter(|name| name.starts_with('.') && name != ".index.json.stationmaster").collect();
    assert!(left.is_empty(), "{left:?} is left");
}

#[test]
fn a_layout_whose_directories_are_links_is_refused_and_nothing_is_written_behind_them() {
    let (yard, elsewhere) = (Yard::new(), tempfile::tempdir().unwrap());
    let station = station("a", &yard);
    let train = Train::of(&[station.seat()]).make();
    station.trust_train(&train);
    yard.take(&train);
    let layout = yard.layout(&train);
    for (place, below) in [(layout.join("blobs/sha256"), ""), (layout.join("blobs"), "sha256"), (layout.clone(), "blobs/sha256")]
    {
        let (part, moved) = (place.display(), elsewhere.path().join("moved"));
        fs::rename(&place, &moved).unwrap();
        symlink(&moved, &place).unwrap();
        let blobs = moved.join(below);
        let before = holdings(&blobs);
        let answer = station.pre_run(&train.image);
        assert!(answer.is_err(), "{part}: {answer:?}");
        assert_eq!(holdings(&blobs), before, "{part}: something was written or removed behind a link");
        fs::remove_file(&place).unwrap();
        fs::rename(&moved, &place).unwrap();
    }
    let run = station.pre_run(&train.image).unwrap();
    // And when the link is put there while the run is open, its clean-up does not follow it.
    let (place, moved) = (layout.join("blobs/sha256"), elsewhere.path().join("moved"));
    fs::rename(&place, &moved).unwrap();
    symlink(&moved, &place).unwrap();
    let before = holdings(&moved);
    assert!(station.abort(&run.run_id).is_err());
    assert_eq!(holdings(&moved), before);
    fs::remove_file(&place).unwrap();
    fs::rename(&moved, &place).unwrap();
    station.abort(&run.run_id).unwrap();
    refused("closed", station.post_run(&run.run_id), "RUN_STATE");
}

#[test]
fn what_is_opened_in_a_layout_is_for_the_service_and_the_configured_group_alone() {
    for group in [None, Some(7)] {
        let yard = Yard::new();
        fs::set_permissions(yard.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let group_of = |config: &mut toml::Table| {
            if let Some(group) = group {
                set(config, "layouts", "group", group.to_string());
            }
        };
        // The widest umask: what it would leave open must not count.
        let station = Station::with("a").layouts(yard.path()).umask(0).start_pinned_and(group_of);
        let train = Train::of(&[station.seat()]).make();
        station.trust_train(&train);
        yard.take(&train);
        let (before, blobs) = (yard.blobs(&train), yard.layout(&train).join("blobs/sha256"));
        let run = station.pre_run(&train.image).unwrap();
        let opened: Vec<_> = yard.blobs(&train).difference(&before).map(|name| blobs.join(name)).collect();
        assert_eq!(opened.len(), 3, "manifest, configuration, layer");
        for blob in &opened {
            assert_eq!(mode(blob), if group.is_some() { 0o640 } else { 0o600 });
            if let Some(group) = group {
                assert_eq!(fs::metadata(blob).unwrap().gid(), group);
            }
        }
        yard.run(&train, &train.expected_results(1), false);
        station.post_run(&run.run_id).unwrap();
        // What is sealed is carried on by the user who may read the directory.
        let sealed = yard.needed(&train);
        assert!(sealed.difference(&before).all(|name| mode(&blobs.join(name)) == 0o644), "{sealed:?}");
    }
}
