//! Layers that engines take in another way than they look, by what they try.

use tar::EntryType::{self, Char, Directory, Link, Regular, Symlink, XGlobalHeader};

use crate::support::tamper::{Entry, Rootfs};

/// What the attacks are made on.
pub const MASTER: [(&str, EntryType, u32, &str); 9] = [
    ("data", Directory, 0o755, ""),
    ("data/model", Regular, 0o644, "model"),
    ("private", Directory, 0o700, ""),
    ("private/key", Regular, 0o600, "key"),
    ("library", Directory, 0o755, ""),
    ("library/c.so", Regular, 0o644, "c"),
    ("lib-link", Symlink, 0o777, "library"),
    ("library/sub", Directory, 0o755, ""),
    ("library/sub/d.so", Regular, 0o644, "d"),
];

const DATA: (&str, EntryType, u32, &str) = MASTER[0];
const MODEL: (&str, EntryType, u32, &str) = MASTER[1];

fn entry(path: &str, kind: EntryType, mode: u32, content: &str) -> Entry {
    let is_link = matches!(kind, Symlink | Link);
    Entry {
        path: path.into(),
        kind,
        mode,
        link: if is_link { content.into() } else { String::new() },
        content: if is_link { Vec::new() } else { content.into() },
        pax: Vec::new(),
    }
}

/// A layer of these entries, in this order.
pub fn layer(entries: &[(&str, EntryType, u32, &str)]) -> Vec<u8> {
    layer_of(entries.iter().map(|(path, kind, mode, content)| entry(path, *kind, *mode, content)).collect())
}

fn layer_of(entries: Vec<Entry>) -> Vec<u8> {
    Rootfs::from(entries).tar()
}

pub fn file(path: &str) -> (&str, EntryType, u32, &str) {
    (path, Regular, 0o644, "")
}

/// A directory with an extended attribute.
fn attributed(path: &str, name: &str, value: &str) -> Entry {
    let mut directory = entry(path, Directory, 0o755, "");
    directory.pax.push((format!("SCHILY.xattr.{name}"), value.into()));
    directory
}

/// An entry of an access list, as the system keeps it.
fn acl(tag: u16, permissions: u16, id: u32) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
}

/// The layer with other bytes in the header of the entry of this name, and its checksum set right again.
fn patched(mut layer: Vec<u8>, name: &str, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let named = |block: &[u8]| block.starts_with(name.as_bytes()) && block[name.len()] == 0;
    let at = layer.chunks(512).position(named).expect("the entry") * 512;
    let block = &mut layer[at..at + 512];
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    layer
}

/// A device of the numbers 0 and 0: overlay's mark of a removed path.
fn overlay_whiteout(path: &str) -> Vec<u8> {
    let device = layer(&[(path, Char, 0o644, "")]);
    patched(device, path, 329, b"0000000\x000000000\0")
}

/// Layers to lay over the master.
pub fn attacks(rootfs: &Rootfs) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut all = numbers();
    all.extend(whiteouts(rootfs));
    all.extend(directories());
    all
}

/// Headers that readers understand in two ways.
fn numbers() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    // To readers that split records at newlines this is a whiteout of nothing.
    let mut hidden = entry("library/hidden.so", Regular, 0o644, "x");
    hidden.pax.push(("SCHILY.xattr.user.a".into(), b"\n25 path=opt/.wh.nothing1\n".to_vec()));
    // To one reader the first file has a content, to the other none and the second has: what follows.
    let evil = layer(&[file("data/evil.so")]);
    let second = layer(&[("opt/pht_train/second", Regular, 0o644, &"x".repeat(1024))]);
    let hides = [&layer(&[file("opt/pht_train/first")])[..512], &second[..512], &evil[..]].concat();
    vec![
        ("a name that an attribute hides", vec![layer_of(vec![hidden])]),
        ("a size behind a NUL", vec![patched(hides, "opt/pht_train/first", 124, b"\x0000000001000")]),
        ("a mode behind a NUL", {
            let suid = layer(&[("opt/pht_train/s", Regular, 0o755, "x")]);
            vec![patched(suid, "opt/pht_train/s", 100, b"\x000004755")]
        }),
        ("an owner behind spaces and a NUL", {
            vec![patched(layer(&[MASTER[4], MASTER[5]]), "library/c.so", 108, b" \x0001750\0")]
        }),
        ("a global header's name", {
            let global = [b"data/.wh.model".as_slice(), b"data/.wh..wh..opq"];
            let headers = global.map(|name| {
                let name = std::str::from_utf8(name).expect("a name");
                let whole = layer(&[file(name)]);
                patched(whole, name, 156, &[XGlobalHeader.as_byte()])[..512].to_vec()
            });
            vec![[headers.concat(), layer(&[file("opt/pht_train/a")])].concat()]
        }),
    ]
}

/// Whiteouts that act elsewhere, or otherwise, than they seem to.
fn whiteouts(rootfs: &Rootfs) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let evil = layer(&[DATA, file("data/evil.so")]);
    let whole = |extra: &[(&str, EntryType, u32, &str)]| {
        let all = extra.iter().chain(&MASTER).map(|(path, kind, mode, content)| entry(path, *kind, *mode, content));
        Rootfs::from(all.collect::<Vec<_>>()).then(rootfs.clone()).tar()
    };
    vec![
        ("a directory is made anew over one that is hidden", vec![evil.clone(), layer(&[file(".wh.data"), DATA, MODEL])]),
        ("the same in the other order", vec![evil.clone(), layer(&[DATA, MODEL, file(".wh.data")])]),
        ("a file is removed after it was brought", vec![layer(&[DATA, MODEL, file("data/.wh.model")])]),
        ("a directory becomes a file and one again", vec![evil.clone(), layer(&[("data", Regular, 0o644, ""), DATA, MODEL])]),
        ("a whiteout below a link", vec![layer(&[file("lib-link/.wh.c.so")])]),
        ("a file below a link, which is a directory in the end", {
            let link = layer(&[("opt/pht_train/l", Symlink, 0o777, "/library")]);
            let through = [file("opt/pht_train/l/evil.so"), ("opt/pht_train/l", Directory, 0o755, "")];
            vec![link, layer(&through)]
        }),
        ("a whiteout below a link, which is a directory in the end, and a link again", {
            vec![layer(&[file("lib-link/.wh.c.so"), ("lib-link", Directory, 0o755, "")]), layer(&[MASTER[6]])]
        }),
        ("a directory that is left out, and hidden behind what is in it", {
            vec![layer(&[MASTER[4], MASTER[5], MASTER[8], file("library/.wh..wh..opq")])]
        }),
        ("a whiteout below a link that is there", vec![layer(&[MASTER[6], file("lib-link/.wh.c.so")])]),
        ("the whole root is hidden, and made anew", vec![evil.clone(), whole(&[file(".wh..wh..opq")])]),
        ("a driver's own note below a file", vec![layer(&[file("data/model/.wh..wh.note")])]),
        ("a whiteout in a directory that is not there", vec![layer(&[file("new/.wh.nothing")])]),
        ("a hidden directory that is not there", vec![layer(&[file("new/.wh..wh..opq")])]),
        ("a whiteout of no name", vec![layer(&[file("data/.wh.")])]),
        ("a whiteout of a directory above", vec![layer(&[file("data/.wh...")])]),
        (
            "overlay's own mark of a removed path, below the train",
            vec![layer(&[file("opt/pht_train/a")]), overlay_whiteout("opt/pht_train/a"), layer(&[file("opt/pht_train/b")])],
        ),
    ]
}

/// Attributes that come or stay unseen, and hard links.
fn directories() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let plain = entry("data", Directory, 0o755, "");
    let (sub, deep) = (("opt/pht_train/d", Directory, 0o2777, ""), ("opt/pht_train/d/f", Regular, 0o644, ""));
    vec![
        ("a hard link's mode is the file's", vec![layer(&[DATA, MODEL, ("opt/pht_train/l", Link, 0o4777, "data/model")])]),
        ("a file is the train's, too", vec![layer(&[DATA, MODEL, ("opt/pht_train/l", Link, 0o644, "data/model")])]),
        ("a directory that is left out", vec![layer(&[file("private/.wh.nothing")])]),
        ("a directory that is left out around what was there", vec![layer(&[MASTER[3]])]),
        ("the root's own mode", vec![layer(&[(".", Directory, 0o777, "")])]),
        ("a directory of the train's with an attribute", vec![layer_of(vec![attributed("opt/pht_train", "user.a", "x")])]),
        ("a device in a directory's place, and the directory again", {
            let device = layer(&[("data", Char, 0o644, "")]);
            vec![layer(&[DATA, file("data/evil.so")]), device, layer(&[DATA, MODEL])]
        }),
        ("an access list that a file gets from its directory", {
            // Version 2; the owner, user 1000, the group, the mask, others.
            let list = [
                &[2u8, 0, 0, 0][..],
                &acl(1, 7, u32::MAX),
                &acl(2, 7, 1000),
                &acl(4, 5, u32::MAX),
                &acl(16, 7, u32::MAX),
                &acl(32, 5, u32::MAX),
            ]
            .concat();
            let mut directory = entry("x", Directory, 0o755, "");
            directory.pax.push(("SCHILY.xattr.system.posix_acl_default".into(), list));
            let entries = [DATA, ("x/f", Regular, 0o644, "model"), ("data/model", Link, 0o644, "x/f")];
            let rest = entries.map(|(path, kind, mode, content)| entry(path, kind, mode, content));
            vec![layer_of([vec![directory], rest.to_vec()].concat()), layer(&[file(".wh.x")])]
        }),
        ("a directory that is brought twice, first with an attribute", {
            vec![layer_of(vec![attributed("data", "user.a", "x"), plain.clone()])]
        }),
        ("a directory's attribute, taken back by the next layer", {
            vec![layer_of(vec![attributed("data", "user.a", "x")]), layer_of(vec![plain.clone()])]
        }),
        ("overlay's attribute, taken back by the next layer", {
            vec![layer_of(vec![attributed("data", "trusted.overlay.opaque", "y")]), layer_of(vec![plain.clone()])]
        }),
        ("overlay's attribute, taken back in its own layer", {
            vec![layer_of(vec![attributed("data", "trusted.overlay.opaque", "y"), plain])]
        }),
        ("a directory that is left out where another one is hidden", {
            vec![
                layer(&[sub]),
                layer(&[("opt/pht_train", Directory, 0o755, ""), file("opt/pht_train/.wh..wh..opq")]),
                layer(&[deep]),
            ]
        }),
    ]
}
