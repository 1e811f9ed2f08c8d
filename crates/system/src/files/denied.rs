//! Explains why a file is inaccessible: the system's message, the file's owner, and the requesting user.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::{
    io::Errno,
    process::{getegid, geteuid},
};

/// Returns the system's message, without its number.
#[must_use]
pub fn words(error: &io::Error) -> String {
    let raw = match (error.raw_os_error(), error.get_ref(), error.kind()) {
        // An error made from a kind alone has a text of Rust, not of the system: "entity not found".
        (None, None, io::ErrorKind::NotFound) => io::Error::from(Errno::NOENT),
        (None, None, io::ErrorKind::PermissionDenied) => io::Error::from(Errno::ACCESS),
        (None, None, io::ErrorKind::AlreadyExists) => io::Error::from(Errno::EXIST),
        (None, None, io::ErrorKind::NotADirectory) => io::Error::from(Errno::NOTDIR),
        (None, None, io::ErrorKind::StorageFull) => io::Error::from(Errno::NOSPC),
        _ => return without_number(&error.to_string()),
    };
    without_number(&raw.to_string())
}

fn without_number(text: &str) -> String {
    text.split_once(" (os error").map_or(text, |(message, _)| message).to_owned()
}

/// Returns the same error; when permission is missing, with the path at fault, its owner and mode, the requesting user, and a remedy.
#[must_use]
pub fn explained(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied || error.raw_os_error().is_none() {
        return error;
    }
    match explanation(path) {
        Some(text) => io::Error::new(io::ErrorKind::PermissionDenied, text),
        None => error,
    }
}

fn explanation(path: &Path) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    let mut last: Option<(&Path, Metadata)> = None;
    let mut is_entered = true;
    for part in ancestors {
        match fs::metadata(part) {
            Ok(facts) => last = Some((part, facts)),
            // Either the directory above denies access, or the name does not exist and may not be created.
            Err(error) => {
                is_entered = error.kind() != io::ErrorKind::PermissionDenied;
                break;
            }
        }
    }
    let (what, facts) = last?;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let kind = if facts.is_dir() { "the directory " } else { "" };
    let (owner, group, mode) = (facts.uid(), facts.gid(), facts.permissions().mode() & 0o7777);
    let wanted = match facts.is_dir() {
        true if is_entered => 0o030,
        true => 0o010,
        false => 0o060,
    };
    let remedy = if owner != uid && group != gid && mode & wanted == wanted {
        format!("run as uid {owner}, or join group {group}")
    } else if owner == uid {
        format!("chmod u+rw{} {}", if facts.is_dir() { "x" } else { "" }, what.display())
    } else {
        format!("run as uid {owner}, or chown {uid} {}", what.display())
    };
    Some(format!(
        "Permission denied: {kind}{} belongs to uid {owner} (gid {group}, mode {mode:04o}), and this process is uid {uid} (gid {gid}): {remedy}",
        what.display()
    ))
}
