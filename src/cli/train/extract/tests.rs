use std::os::unix::fs::{PermissionsExt, symlink};

use crate::cli::train::extract::*;

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

fn write(extraction: &mut Extraction, name: &str, content: &[u8]) -> Result<(), CliError> {
    extraction.begin(path(name), content.len() as u64)?;
    extraction.write(content)?;
    extraction.end(None)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn files_are_there_when_all_have_come_for_their_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("out");
    let mut extraction = Extraction::create(&directory, false).unwrap();
    write(&mut extraction, "a/b/c", b"deep").unwrap();
    write(&mut extraction, "top", b"").unwrap();
    assert!(!directory.join("top").exists(), "not before the end");
    let files = extraction.finish().unwrap();
    assert_eq!(names(&directory), ["a", "top"]);
    assert_eq!(fs::read(directory.join("a/b/c")).unwrap(), b"deep");
    assert_eq!(files[0].sha256, Sha256Digest::of(b"deep"));
    for (name, mode) in [("", 0o700), ("a", 0o700), ("a/b", 0o700), ("a/b/c", 0o600), ("top", 0o600)] {
        assert_eq!(fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn what_is_broken_off_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("out");
    let mut extraction = Extraction::create(&directory, false).unwrap();
    write(&mut extraction, "whole", b"x").unwrap();
    extraction.begin(path("half"), 9).unwrap();
    extraction.write(b"half").unwrap();
    drop(extraction);
    assert!(names(parent.path()).is_empty());
    fs::create_dir(&directory).unwrap();
    let mut extraction = Extraction::create(&directory, false).unwrap();
    extraction.begin(path("half"), 9).unwrap();
    assert!(extraction.finish().is_err(), "a file that has not ended");
    assert!(names(&directory).is_empty(), "a directory that was there stays, as it was");
}

#[test]
fn what_does_not_come_as_it_was_announced_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let mut extraction = Extraction::create(&parent.path().join("out"), false).unwrap();
    assert!(extraction.write(b"of nothing").is_err());
    extraction.begin(path("short"), 2).unwrap();
    assert!(extraction.end(None).is_err());
    extraction.begin(path("long"), 2).unwrap();
    assert!(extraction.write(b"abc").is_err());
    extraction.begin(path("changed"), 1).unwrap();
    extraction.write(b"a").unwrap();
    assert!(extraction.end(Some(&[0; 32])).is_err());
    assert!(extraction.begin(path("changed"), 1).is_err(), "the same name again");
}

#[test]
fn a_directory_that_is_in_use_is_taken_by_force_only_and_links_lead_nowhere() {
    let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(directory.path().join("old"), b"old").unwrap();
    symlink(outside.path(), directory.path().join("link")).unwrap();
    symlink(outside.path().join("file"), directory.path().join("file")).unwrap();
    assert!(Extraction::create(directory.path(), false).is_err());

    let mut extraction = Extraction::create(directory.path(), true).unwrap();
    write(&mut extraction, "old", b"new").unwrap();
    write(&mut extraction, "file", b"replaces the link").unwrap();
    assert_eq!(extraction.finish().unwrap().len(), 2);
    assert_eq!(fs::read(directory.path().join("old")).unwrap(), b"new");
    assert!(fs::symlink_metadata(directory.path().join("file")).unwrap().is_file());

    let mut extraction = Extraction::create(directory.path(), true).unwrap();
    write(&mut extraction, "link/inside", b"x").unwrap();
    assert!(extraction.finish().is_err(), "a link where a directory belongs");
    assert!(names(outside.path()).is_empty());
    assert_eq!(names(directory.path()), ["file", "link", "old"]);
}
