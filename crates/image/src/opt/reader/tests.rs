use crate::opt::reader::*;

#[derive(Default)]
struct Names(Vec<String>);

impl TrainTreeSink for Names {
    type Error = ImageError;
    fn directory(&mut self, area: TrainDir, path: Option<FilePath>, _: FileAttrs) -> Result<(), ImageError> {
        self.0.push(format!("{area:?} dir {}", path.as_ref().map_or("", FilePath::as_str)));
        Ok(())
    }
    fn begin(&mut self, area: TrainDir, path: FilePath, _: FileAttrs, size: u64) -> Result<(), ImageError> {
        self.0.push(format!("{area:?} file {} {size}", path.as_str()));
        Ok(())
    }
    fn other(&mut self, path: &str) -> Result<(), ImageError> {
        self.0.push(format!("other {path}"));
        Ok(())
    }
}

fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, kind, content) in entries {
        out.extend(crate::tar::header_writer::header_blocks(path, *kind, FileAttrs::immutable_file(1), content.len() as u64));
        out.extend(content.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn read(entries: &[(&str, EntryType, &str)]) -> Result<Vec<String>, ImageError> {
    let mut names = Names::default();
    read_opt(&archive(entries)[..], &mut names).map(|_| names.0)
}

const DIR: EntryType = EntryType::Directory;
const FILE: EntryType = EntryType::Regular;

#[test]
fn a_train_is_read_in_the_engines_order_and_the_rest_of_opt_is_named() {
    let names = read(&[
        ("opt/", DIR, ""),
        ("opt/pht_results/", DIR, ""),
        ("opt/pht_results/a/", DIR, ""),
        ("opt/pht_results/a/x", FILE, "1"),
        ("opt/pht_results/a!", FILE, "22"),
        ("opt/pht_train/", DIR, ""),
        ("opt/pht_train/run.sh", FILE, "333"),
        ("opt/pht_train_evil", FILE, ""),
        ("opt/tool", EntryType::Symlink, ""),
    ]);
    let expected = [
        "Results dir ",
        "Results dir a",
        "Results file a/x 1",
        "Results file a! 2",
        "Train dir ",
        "Train file run.sh 3",
        "other pht_train_evil",
        "other tool",
    ];
    assert_eq!(names.unwrap(), expected);
}

#[test]
fn links_and_special_files_in_the_two_directories_are_refused() {
    for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::new(b'S')] {
        for path in ["opt/pht_results/x", "opt/pht_results", "opt", "opt/train_config.json"] {
            assert!(read(&[(path, kind, "")]).is_err(), "{kind:?} at {path} was let through");
        }
    }
}

#[test]
fn names_that_climb_or_mean_something_to_layers_are_refused() {
    for name in ["../x", "a/../x", ".", "a//b", ".wh.x", "a/.wh..wh..opq", ".wh.", "a\nb", "a\u{1b}", "/x"] {
        assert!(read(&[(&format!("opt/pht_results/{name}"), FILE, "")]).is_err(), "{name:?} was let through");
    }
    assert!(read(&[("etc/passwd", FILE, "")]).is_err());
    assert!(read(&[("../opt/pht_train/x", FILE, "")]).is_err());
}

#[test]
fn duplicates_and_another_order_are_refused() {
    assert!(read(&[("opt/pht_train/a", FILE, ""), ("opt/pht_train/a", FILE, "")]).is_err());
    assert!(read(&[("opt/pht_train/b", FILE, ""), ("opt/pht_train/a", FILE, "")]).is_err());
    assert!(read(&[("opt/pht_train/a", FILE, ""), ("opt/pht_train/a/", DIR, "")]).is_err());
}

#[test]
fn a_truncated_archive_is_malformed() {
    let whole = archive(&[("opt/pht_train/a", FILE, "content")]);
    for cut in [100, 515] {
        assert!(matches!(read_opt(&whole[..cut], &mut Names::default()), Err(ImageError::Malformed(_))), "cut at {cut}");
    }
}
