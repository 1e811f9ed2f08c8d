use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use super::{
    Directory, FileThread, NotResponding,
    guarded::{GuardError, Reader, Secrecy, read},
};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn service(path: &Path, holds: Secrecy) -> Result<Vec<u8>, GuardError> {
    read(path, Reader::Service, holds, 100)
}

#[track_caller]
fn breaks(path: &Path, holds: Secrecy, said: &str) {
    match service(path, holds) {
        Err(GuardError::Rule(why) | GuardError::NotAFile(why)) => assert!(why.contains(said), "{why}"),
        other => panic!("{said}: {other:?}"),
    }
}

#[test]
fn a_file_that_others_could_have_changed_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let (below, file) = (directory.path().join("d"), directory.path().join("d/f"));
    fs::create_dir(&below).unwrap();
    fs::write(&file, "x").unwrap();
    chmod(&below, 0o755);
    chmod(&file, 0o644);
    assert_eq!(service(&file, Secrecy::Plain).unwrap(), b"x");
    chmod(&file, 0o666);
    breaks(&file, Secrecy::Plain, "by all users (mode 0666): chmod o-w ");
    chmod(&file, 0o664);
    breaks(&file, Secrecy::Plain, "by its group (mode 0664): chmod g-w ");
    assert!(read(&file, Reader::Command, Secrecy::Plain, 100).is_ok());
    chmod(&file, 0o644);
    breaks(&file, Secrecy::Secret, "is readable by others (mode 0644): chmod 600 ");
    // Its directory, and the directory of a link that leads to it.
    for open in [0o777, 0o775] {
        chmod(&below, open);
        breaks(&file, Secrecy::Plain, "/d is writable by");
    }
    let (links, link) = (directory.path().join("links"), directory.path().join("links/l"));
    fs::create_dir(&links).unwrap();
    symlink("../d/f", &link).unwrap();
    chmod(&below, 0o755);
    chmod(&links, 0o755);
    assert_eq!(service(&link, Secrecy::Plain).unwrap(), b"x");
    chmod(&links, 0o777);
    breaks(&link, Secrecy::Plain, "/links is writable by all users");
    breaks(&below, Secrecy::Plain, "is a directory");
    symlink("loop", directory.path().join("loop")).unwrap();
    breaks(&directory.path().join("loop"), Secrecy::Plain, "too many links");
    rustix::fs::mkfifoat(rustix::fs::CWD, below.join("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    breaks(&below.join("fifo"), Secrecy::Plain, "is a FIFO, not a regular file");
    fs::write(&file, [0; 101]).unwrap();
    assert!(matches!(service(&file, Secrecy::Plain), Err(GuardError::Io(_))), "more than the limit");
    assert!(matches!(service(&below.join("none"), Secrecy::Plain), Err(GuardError::Missing)));
}

#[test]
fn a_file_of_another_user_is_refused_also_behind_a_link() {
    // Only root can give files away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    chmod(directory.path(), 0o755);
    let (file, link) = (directory.path().join("f"), directory.path().join("l"));
    fs::write(&file, "x").unwrap();
    chmod(&file, 0o640);
    assert!(service(&file, Secrecy::Secret).is_ok(), "root's, for a group to read");
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        breaks(path, Secrecy::Plain, "belongs to uid 65534");
    }
    fs::remove_file(&file).unwrap();
    fs::write(&file, "x").unwrap();
    std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
    breaks(&link, Secrecy::Plain, "/l belongs to uid 65534");
    // A command of root's may look at the files of one user, not at what two of them made.
    let service_users = directory.path().join("state");
    fs::create_dir(&service_users).unwrap();
    fs::write(service_users.join("f"), "x").unwrap();
    std::os::unix::fs::chown(&service_users, Some(65533), None).unwrap();
    std::os::unix::fs::chown(service_users.join("f"), Some(65533), None).unwrap();
    assert!(read(&service_users.join("f"), Reader::Command, Secrecy::Plain, 9).is_ok());
    std::os::unix::fs::chown(service_users.join("f"), Some(65534), None).unwrap();
    assert!(read(&service_users.join("f"), Reader::Command, Secrecy::Plain, 9).is_err());
}

#[test]
fn what_is_written_follows_no_link_and_leaves_nothing_but_itself() {
    let directory = tempfile::tempdir().unwrap();
    let victim = tempfile::NamedTempFile::new().unwrap();
    fs::write(&victim, "precious").unwrap();
    let at = Directory::open(directory.path()).unwrap();
    symlink(victim.path(), directory.path().join("name")).unwrap();
    assert_eq!(at.create_new("name", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert!(at.open_own("name").is_err() && at.open_file("name").is_err());
    at.replace("name", 0o640, b"new").unwrap();
    assert_eq!(
        (fs::read(directory.path().join("name")).unwrap(), mode(&directory.path().join("name"))),
        (b"new".to_vec(), 0o640)
    );
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    drop(at.begin("name", 0o600).unwrap());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    symlink("/tmp", directory.path().join("sub")).unwrap();
    for path in ["sub", "..", "."] {
        assert!(at.enter(path).is_err(), "{path}");
    }
    assert!(at.open_file("sub/x").is_err() && at.remove("sub/x").is_err());
}

#[test]
fn modes_are_what_is_meant_whatever_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    let at = Directory::open(directory.path()).unwrap();
    let path = |name: &str| directory.path().join(name);
    // The umask is the whole process's: it is not changed here, the modes are ones that both a wide and a narrow one would change.
    at.create_new("a", 0o666).unwrap();
    at.replace("b", 0o604, b"").unwrap();
    fs::write(path("c"), "").unwrap();
    chmod(&path("c"), 0o644);
    at.open_own("c").unwrap();
    super::make_private(&path("d")).unwrap();
    super::OutputFile::begin(&path("e"), super::Existing::IsReplaced, super::Readers::Owner).unwrap().finish().unwrap();
    super::make_directory(&path("f/g")).unwrap();
    let modes = ["a", "b", "c", "d", "e", "f", "f/g"].map(|name| mode(&path(name)));
    assert_eq!(modes, [0o666, 0o604, 0o600, 0o600, 0o600, 0o700, 0o700]);
}

#[test]
fn a_job_that_hangs_delays_its_callers_only_briefly() {
    let aside = FileThread::new("test");
    assert_eq!(aside.run_blocking(|| 7), Ok(7));
    let (end, ended) = crossbeam_channel::bounded::<()>(0);
    assert_eq!(aside.run_blocking(move || ended.recv().unwrap_or_default()), Err(NotResponding));
    // A later caller gets the error at once; nothing is queued for it.
    assert_eq!(aside.run_blocking(|| panic!("it must not run")), Err::<(), _>(NotResponding));
    drop(end);
    while aside.run_blocking(|| 8) != Ok(8) {}
    assert_eq!(aside.run_blocking(|| panic!("a job of its own")), Err::<(), _>(NotResponding));
    assert_eq!(aside.run_blocking(|| 9), Ok(9));
}
