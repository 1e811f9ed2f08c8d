use std::io::Read;

use tar::EntryType;

use crate::{
    checks::master::*,
    tar::{
        entry::FileAttrs,
        header_writer::{header_blocks, link_blocks},
    },
    test_archives::{DIR, FILE, Item, pax, saved, tar_of},
};

fn compared(layers: &[Vec<u8>]) -> Result<Vec<(&'static str, String)>, ImageError> {
    let archive = saved(layers, false);
    let archive: Box<dyn Read> = Box::new(std::io::Cursor::new(archive));
    let found = compare_trees(ImageInput::archive(archive), None, |_| 1, None, |_| {})?.0;
    Ok(found.kept.into_iter().map(|one| (one.what, String::from_utf8(one.place).unwrap())).collect())
}

fn differences(below: Vec<u8>, above: Vec<u8>) -> Vec<(&'static str, String)> {
    compared(&[below, above]).unwrap()
}

fn master() -> Vec<u8> {
    tar_of(&[("bin/", DIR, b""), ("bin/sh", FILE, b"sh"), ("etc/", DIR, b""), ("etc/passwd", FILE, b"root"), ("opt/", DIR, b"")])
}

fn with_mode(path: &str, mode: u32) -> Vec<u8> {
    let mut out = header_blocks(path, EntryType::Regular, FileAttrs { mode, ..FileAttrs::immutable_file(1) }, 2);
    out.extend(b"sh");
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

fn link(path: &str, target: &[u8]) -> Vec<u8> {
    ended(&[link_blocks(path, EntryType::Symlink, FileAttrs::immutable_file(1), target)])
}

fn hard_link(path: &str, target: &str, mode: u32) -> Vec<u8> {
    link_blocks(path, EntryType::Link, FileAttrs { mode, ..FileAttrs::immutable_file(1) }, target.as_bytes())
}

fn attributed(path: &str, name: &str) -> Vec<u8> {
    let attribute = pax(&[(format!("SCHILY.xattr.{name}").as_str(), b"y")]);
    [attribute, header_blocks(path, DIR, FileAttrs::directory(1), 0)].concat()
}

fn device(path: &str, (major, minor): (u32, u32)) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_entry_type(EntryType::Char);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).unwrap();
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn ended(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

/// Entries without the end of an archive.
fn open(entries: &[Item<'_>]) -> Vec<u8> {
    let mut archive = tar_of(entries);
    archive.truncate(archive.len() - 1024);
    archive
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
    // Written again unchanged.
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
        // Engines create the directory of a whiteout or an opaque mark.
        (tar_of(&[("etc/new/.wh.x", FILE, b"")]), ("added", "etc/new")),
        (tar_of(&[("etc/new/.wh..wh..opq", FILE, b"")]), ("added", "etc/new")),
        (tar_of(&[("opt/pht_train_evil", FILE, b"")]), ("added", "opt/pht_train_evil")),
        (ended(&[header_blocks("./", DIR, FileAttrs { mode: 0o777, ..FileAttrs::directory(1) }, 0)]), ("mode", "/")),
        (tar_of(&[("opt/pht_results.so", FILE, b"")]), ("added", "opt/pht_results.so")),
        (tar_of(&[("opt/pht_train", FILE, b"")]), ("type", "opt/pht_train")),
        (with_mode("bin/sh", 0o4755), ("mode", "bin/sh")),
        (with_mode("opt/pht_train/x", 0o4755), ("type", "opt/pht_train/x")),
        (link("bin/sh", b"/opt/pht_train/sh"), ("type", "bin/sh")),
        (link("opt/pht_train/l", b"/etc/passwd"), ("type", "opt/pht_train/l")),
        (
            ended(&[
                open(&[("etc/", DIR, b""), ("etc/passwd", FILE, b"root")]),
                hard_link("opt/pht_train/l", "etc/passwd", 0o644),
            ]),
            ("type", "opt/pht_train/l"),
        ),
        (
            ended(&[header_blocks("opt/pht_train/", DIR, FileAttrs { mode: 0o2755, ..FileAttrs::directory(1) }, 0)]),
            ("type", "opt/pht_train"),
        ),
    ] {
        let found = differences(master(), above);
        assert!(found.iter().any(|(what, path)| (*what, path.as_str()) == expected), "{expected:?} in {found:?}");
    }
    let tool = tar_of(&[("opt/", DIR, b""), ("opt/tool", FILE, b"x")]);
    assert_eq!(differences(tool, tar_of(&[("opt/.wh.tool", FILE, b"")])), [("removed", "opt/tool".to_owned())]);
}

#[test]
fn a_directory_that_a_layer_leaves_out_is_what_engines_make_of_it() {
    let private = |mode| header_blocks("private/", DIR, FileAttrs { mode, ..FileAttrs::directory(1) }, 0);
    let key = open(&[("private/key", FILE, b"key")]);
    let master = || ended(&[private(0o700), key.clone()]);
    for above in [ended(std::slice::from_ref(&key)), tar_of(&[("private/.wh.none", FILE, b"")])] {
        assert_eq!(differences(master(), above), [("mode", "private".to_owned())]);
    }
    assert_eq!(differences(master(), ended(&[key.clone(), private(0o700)])), []);
    let shared = header_blocks("opt/", DIR, FileAttrs { mode: 0o775, ..FileAttrs::directory(1) }, 0);
    assert_eq!(differences(ended(&[shared]), tar_of(&[("opt/pht_train/", DIR, b"")])), [], "as stations leave it out");
    // A later layer that has the directory corrects this.
    assert_eq!(compared(&[master(), ended(&[key]), ended(&[private(0o700)])]).unwrap(), []);
}

#[test]
fn an_attribute_that_a_later_layer_takes_away_is_a_difference() {
    let gives = || ended(&[attributed("etc/", "user.a")]);
    let takes = tar_of(&[("etc/", DIR, b"")]);
    let difference = [("xattrs", "etc".to_owned())];
    assert_eq!(compared(&[master(), gives(), takes.clone()]).unwrap(), difference, "some engines leave it there");
    assert_eq!(compared(&[gives(), takes, gives()]).unwrap(), [], "it is the master's");
}

#[test]
fn a_layer_that_engines_take_in_different_ways_is_refused() {
    let passwd = ("etc/passwd", FILE, &b"root"[..]);
    for (what, layer) in [
        ("a hard link with another mode", ended(&[open(&[passwd]), hard_link("opt/x", "etc/passwd", 0o4644)])),
        ("a hard link without the file's capabilities", {
            let capable = pax(&[("SCHILY.xattr.security.capability", b"\x01")]);
            ended(&[capable, open(&[("bin/ping", FILE, b"")]), hard_link("bin/ping6", "bin/ping", 0o644)])
        }),
        ("a hard link to a directory", ended(&[hard_link("opt/x", "etc", 0o644)])),
        ("what is removed once it was brought", tar_of(&[passwd, ("etc/.wh.passwd", FILE, b"")])),
        ("a directory in a whiteout's place", tar_of(&[(".wh.etc", FILE, b""), ("etc/", DIR, b""), passwd])),
        ("below a whiteout", tar_of(&[(".wh.etc", FILE, b""), passwd])),
        ("a whiteout behind what is below", tar_of(&[passwd, (".wh.etc", FILE, b"")])),
        ("a whiteout below a whiteout", tar_of(&[(".wh.etc", FILE, b""), ("etc/.wh.passwd", FILE, b"")])),
        ("a file, then a directory", tar_of(&[("etc", FILE, b""), ("etc/", DIR, b""), passwd])),
        ("below a file of its own", tar_of(&[("x", FILE, b""), ("x/y", FILE, b"")])),
        ("below a file of the master", tar_of(&[("bin/sh/x", FILE, b"")])),
        ("a whiteout below a file", tar_of(&[("bin/sh/.wh.x", FILE, b"")])),
        ("a mark below a file", tar_of(&[("bin/sh/.wh..wh..opq", FILE, b"")])),
        ("a mark of the root", tar_of(&[(".wh..wh..opq", FILE, b""), passwd])),
        ("a driver's own note", tar_of(&[("etc/.wh..wh.passwd", FILE, b"")])),
        ("below a driver's own note", tar_of(&[(".wh..wh.plnk/x", FILE, b"")])),
        ("below a whiteout's name", tar_of(&[("etc/.wh.x/y", FILE, b"")])),
        ("a whiteout of no name", tar_of(&[("etc/.wh.", FILE, b"")])),
        ("a whiteout of its directory", tar_of(&[("etc/.wh..", FILE, b"")])),
        ("a whiteout of the directory above", tar_of(&[("etc/.wh...", FILE, b"")])),
        ("a file below a link of its own, which is a directory in the end", {
            let link = link_blocks("opt/l", EntryType::Symlink, FileAttrs::immutable_file(1), b"/etc");
            ended(&[link, open(&[("opt/l/x", FILE, b""), ("opt/l/", DIR, b"")])])
        }),
        (
            "a left-out directory, hidden behind what is in it",
            tar_of(&[("etc/", DIR, b""), ("etc/d/x", FILE, b""), ("etc/.wh..wh..opq", FILE, b"")]),
        ),
        ("a left-out directory below a group's", {
            let group = header_blocks("opt/pht_train/", DIR, FileAttrs { mode: 0o2755, ..FileAttrs::directory(1) }, 0);
            ended(&[group, open(&[("opt/pht_train/d/f", FILE, b"")])])
        }),
        ("a device in a file's place", ended(&[device("bin/sh", (5, 1))])),
        ("a device of large numbers", ended(&[device("opt/x", (0x1000, 0))])),
        ("an attribute of the root", ended(&[attributed("./", "user.a")])),
        ("a default access list", ended(&[attributed("opt/", "system.posix_acl_default")])),
        ("an owner that means no change", {
            ended(&[header_blocks("opt/", DIR, FileAttrs { uid: u64::from(u32::MAX), ..FileAttrs::directory(1) }, 0)])
        }),
        ("a device 0:0", tar_of(&[("opt/x", EntryType::Char, b"")])),
        ("overlay's own attribute", ended(&[attributed("etc/", "trusted.overlay.opaque")])),
        ("overlay's own attribute, for users", ended(&[attributed("etc/", "user.overlay.redirect")])),
        ("an attribute of a first entry", ended(&[attributed("etc/", "user.a"), open(&[("etc/", DIR, b"")])])),
    ] {
        assert!(matches!(compared(&[master(), layer]), Err(ImageError::Malformed(_))), "{what} was let through");
    }
    let attributed_master = ended(&[attributed("etc/", "user.a"), open(&[passwd])]);
    let behind = tar_of(&[passwd, ("etc/", DIR, b"")]);
    assert!(compared(&[attributed_master, behind]).is_err(), "containerd copies an attribute for what is below");
    // A file at a whiteout's path is visible to all engines, and so are files next to their directory's opaque mark.
    let again = tar_of(&[("etc/", DIR, b""), ("etc/.wh.passwd", FILE, b""), passwd]);
    let opaque = tar_of(&[("etc/", DIR, b""), passwd, ("etc/.wh..wh..opq", FILE, b"")]);
    for layer in [again, opaque] {
        assert_eq!(differences(master(), layer), []);
    }
}

#[test]
fn a_directory_is_not_left_out_where_a_lower_layers_is_hidden() {
    let directory = |mode| header_blocks("opt/pht_train/d/", DIR, FileAttrs { mode, ..FileAttrs::directory(1) }, 0);
    let mark = ("opt/pht_train/.wh..wh..opq", FILE, &b""[..]);
    let below = ("opt/pht_train/d/f", FILE, &b""[..]);
    let trees = |mode, layers: &[Vec<u8>]| compared(&[&[master(), ended(&[directory(mode)])], layers].concat());
    for hidden in [
        &[tar_of(&[mark]), tar_of(&[below])][..],
        &[tar_of(&[mark, below])],
        &[tar_of(&[("opt/.wh.pht_train", FILE, b"")]), tar_of(&[below])],
    ] {
        assert!(trees(0o2755, hidden).is_err());
        // As engines would create it.
        assert_eq!(trees(0o755, hidden).unwrap(), []);
    }
    let told = tar_of(&[mark, ("opt/pht_train/d/", DIR, b""), below]);
    assert_eq!(trees(0o2755, &[told]).unwrap(), []);
    // Engines follow a link of a lower layer.
    let link = link("opt/pht_train", b"/etc");
    let instead = [link, tar_of(&[("opt/pht_train/", DIR, b"")]), tar_of(&[below])];
    assert!(compared(&[&[master()], &instead[..]].concat()).is_err());
}
