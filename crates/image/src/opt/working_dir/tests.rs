use std::os::unix::fs::symlink;

use crate::{
    opt::{reader::TrainTreeSink, working_dir::*},
    tar::entry::FileAttrs,
};

#[derive(Default)]
struct Seen {
    names: Vec<String>,
    content: Vec<u8>,
}

impl TrainTreeSink for Seen {
    type Error = ImageError;
    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, meta: FileAttrs) -> Result<(), ImageError> {
        let path = path.as_ref().map_or("", FilePath::as_str);
        self.names.push(format!("{area:?} dir {path} {:o}", meta.mode));
        Ok(())
    }
    fn begin(&mut self, area: TrainDir, path: FilePath, meta: FileAttrs, size: u64) -> Result<(), ImageError> {
        self.names.push(format!("{area:?} file {} {:o} {size}", path.as_str(), meta.mode));
        Ok(())
    }
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.content.extend_from_slice(bytes);
        Ok(())
    }
}

fn meta(mode: u32) -> FileAttrs {
    let owner = rustix::process::geteuid().as_raw();
    FileAttrs { mode, uid: owner.into(), gid: rustix::process::getegid().as_raw().into(), mtime: 0 }
}

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

fn filled(shared: &Path) -> WorkingDir {
    let directory = WorkingDir::of(shared, "run");
    let mut writer = directory.create(0, 0).unwrap();
    for area in [TrainDir::Train, TrainDir::Results] {
        writer.directory(area, None, meta(0o755)).unwrap();
    }
    writer.directory(TrainDir::Results, Some(&path("a")), meta(0o500)).unwrap();
    for (name, content) in [("a!", &b"second"[..]), ("a/x", b"first"), ("b", b"")] {
        writer.begin(TrainDir::Results, &path(name), meta(0o640), content.len() as u64).unwrap();
        writer.chunk(content).unwrap();
        writer.end().unwrap();
    }
    assert!(writer.finish().unwrap());
    directory
}

#[test]
fn what_was_written_is_read_in_the_engines_order() {
    let shared = tempfile::tempdir().unwrap();
    let directory = filled(shared.path());
    let mut seen = Seen::default();
    assert_eq!(directory.read(&mut seen).unwrap(), (true, true));
    let expected =
        ["Results dir  755", "Results dir a 500", "Results file a/x 640 5", "Results file a! 640 6", "Results file b 640 0"];
    assert_eq!(seen.names[..5], expected);
    assert_eq!(seen.names[5..], ["Train dir  755"]);
    assert_eq!(seen.content, b"firstsecond");
    directory.remove().unwrap();
    directory.remove().unwrap();
    assert_eq!(fs::read_dir(shared.path()).unwrap().count(), 0);
}

#[test]
fn a_removed_area_is_reported() {
    let shared = tempfile::tempdir().unwrap();
    let directory = filled(shared.path());
    fs::remove_dir_all(directory.area(TrainDir::Train)).unwrap();
    assert_eq!(directory.read(&mut Seen::default()).unwrap(), (false, true));
}

#[test]
fn links_special_files_and_second_names_are_refused() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 5] = [
        ("link", |to| symlink("/etc/passwd", to).unwrap()),
        ("link to a directory", |to| symlink("/etc", to).unwrap()),
        ("second name", |to| fs::hard_link(to.with_file_name("b"), to).unwrap()),
        ("socket", |to| drop(std::os::unix::net::UnixListener::bind(to).unwrap())),
        ("pipe", |to| rustix::fs::mknodat(rustix::fs::CWD, to, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap()),
    ];
    for (what, make) in cases {
        let shared = tempfile::tempdir().unwrap();
        let directory = filled(shared.path());
        make(&directory.area(TrainDir::Results).join("c"));
        let refused = directory.read(&mut Seen::default());
        assert!(matches!(refused, Err(ImageError::Policy { rule: Rule::NoLinks, .. })), "{what}: {refused:?}");
    }
    let shared = tempfile::tempdir().unwrap();
    let directory = filled(shared.path());
    fs::rename(directory.area(TrainDir::Train), shared.path().join("elsewhere")).unwrap();
    symlink(shared.path().join("elsewhere"), directory.area(TrainDir::Train)).unwrap();
    assert!(matches!(directory.read(&mut Seen::default()), Err(ImageError::Policy { .. })));
}

#[test]
fn names_that_mean_something_to_layers_are_refused() {
    for name in [".wh.x", "a\nb", "\u{7f}"] {
        let shared = tempfile::tempdir().unwrap();
        let directory = filled(shared.path());
        fs::write(directory.area(TrainDir::Results).join(name), "").unwrap();
        let refused = directory.read(&mut Seen::default());
        assert!(matches!(refused, Err(ImageError::Policy { rule: Rule::PlainNames, .. })), "{name:?}: {refused:?}");
    }
}

#[test]
fn a_file_that_grows_while_it_is_read_is_refused() {
    /// Appends to the file whenever a part of it has been read, as a running container might.
    struct Grower(PathBuf);
    impl TrainTreeSink for Grower {
        type Error = ImageError;
        fn chunk(&mut self, _: &[u8]) -> Result<(), ImageError> {
            let grown = [fs::read(&self.0).unwrap(), b"more".to_vec()].concat();
            fs::write(&self.0, grown).unwrap();
            Ok(())
        }
    }
    let shared = tempfile::tempdir().unwrap();
    let directory = filled(shared.path());
    let refused = directory.read(&mut Grower(directory.area(TrainDir::Results).join("a!")));
    assert!(matches!(refused, Err(ImageError::Policy { rule: Rule::AtRestWhileRead, .. })), "{refused:?}");
}

#[test]
fn nesting_without_end_is_refused() {
    let shared = tempfile::tempdir().unwrap();
    let directory = filled(shared.path());
    fs::create_dir_all(directory.area(TrainDir::Results).join("d/".repeat(210))).unwrap();
    let refused = directory.read(&mut Seen::default());
    assert!(matches!(refused, Err(ImageError::Policy { rule: Rule::PlainNames, .. })), "{refused:?}");
}

#[test]
fn too_little_space_is_refused() {
    let shared = tempfile::tempdir().unwrap();
    assert!(matches!(WorkingDir::of(shared.path(), "run").create(u64::MAX / 2, 0), Err(ImageError::DiskFull { .. })));
}
