use std::io::Read;

use tar::EntryType;

use super::*;
use crate::image::{
    layer::{Meta, header_blocks, link_blocks},
    made::{DIR, FILE, saved, tar_of},
};

fn differences(below: Vec<u8>, above: Vec<u8>) -> Vec<(&'static str, String)> {
    let archive = saved(&[below, above], false);
    let archive: Box<dyn Read> = Box::new(std::io::Cursor::new(archive));
    let found = compare_trees(Place::Archive(archive), None, |_| 1, None, |_| {}).unwrap().0;
    found.kept.into_iter().map(|one| (one.what, String::from_utf8(one.place).unwrap())).collect()
}

fn master() -> Vec<u8> {
    tar_of(&[("bin/", DIR, b""), ("bin/sh", FILE, b"sh"), ("etc/", DIR, b""), ("etc/passwd", FILE, b"root"), ("opt/", DIR, b"")])
}

fn with_mode(path: &str, mode: u32) -> Vec<u8> {
    let mut out = header_blocks(path, EntryType::Regular, Meta { mode, ..Meta::immutable_file(1) }, 2);
    out.extend(b"sh");
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

fn link(path: &str, target: &[u8]) -> Vec<u8> {
    let mut out = link_blocks(path, Meta::immutable_file(1), target);
    out.resize(out.len() + 1024, 0);
    out
}

#[test]
fn a_train_in_its_own_places_is_no_difference() {
    let train = [
        ("opt/pht_train/", DIR, &b""[..]),
        ("opt/pht_train/a/b.py", FILE, b"x"),
        ("opt/pht_results/", DIR, b""),
        ("opt/train_config.json", FILE, b"{}"),
        ("opt/user_sym_key.key", FILE, b"k"),
    ];
    assert_eq!(differences(master(), tar_of(&train)), []);
    // Written again as it was.
    assert_eq!(differences(master(), tar_of(&[("etc/passwd", FILE, b"root")])), []);
}

#[test]
fn whatever_else_the_layers_above_do_is_a_difference() {
    for (above, expected) in [
        (tar_of(&[("etc/passwd", FILE, b"toor")]), ("content", "etc/passwd")),
        (tar_of(&[("usr/lib/backdoor.so", FILE, b"")]), ("added", "usr")),
        (tar_of(&[("etc/.wh.passwd", FILE, b"")]), ("removed", "etc/passwd")),
        (tar_of(&[("etc/.wh..wh..opq", FILE, b"")]), ("removed", "etc/passwd")),
        (tar_of(&[("bin/sh/", DIR, b"")]), ("type", "bin/sh")),
        (tar_of(&[("opt/pht_train_evil", FILE, b"")]), ("added", "opt/pht_train_evil")),
        (tar_of(&[("opt/pht_results.so", FILE, b"")]), ("added", "opt/pht_results.so")),
        (tar_of(&[("opt/pht_train", FILE, b"")]), ("type", "opt/pht_train")),
        (with_mode("bin/sh", 0o4755), ("mode", "bin/sh")),
        (with_mode("opt/pht_train/x", 0o4755), ("type", "opt/pht_train/x")),
        (link("bin/sh", b"/opt/pht_train/sh"), ("type", "bin/sh")),
        (link("opt/pht_train/l", b"/etc/passwd"), ("type", "opt/pht_train/l")),
    ] {
        let found = differences(master(), above);
        assert!(found.iter().any(|(what, path)| (*what, path.as_str()) == expected), "{expected:?} in {found:?}");
    }
    let tool = tar_of(&[("opt/", DIR, b""), ("opt/tool", FILE, b"x")]);
    assert_eq!(differences(tool, tar_of(&[("opt/.wh.tool", FILE, b"")])), [("removed", "opt/tool".to_owned())]);
}
