use crate::{
    tar::{header_writer::header_blocks, reader::*},
    test_archives::pax,
};

/// The name of git's global header.
const GIT: &str = "pax_global_header";

/// Returns an entry whose header was changed before its checksum was set.
fn raw(path: &str, kind: EntryType, content: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut out = header_blocks(path, kind, FileAttrs::immutable_file(1), content.len() as u64);
    let at = out.len() - 512;
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(&out[at..]);
    change(header.as_mut_bytes());
    header.set_cksum();
    out[at..].copy_from_slice(header.as_bytes());
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn whole(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn file(path: &str, content: &[u8]) -> Vec<u8> {
    raw(path, EntryType::Regular, content, |_| {})
}

fn read(archive: &[u8]) -> Result<Vec<(String, u64)>, ImageError> {
    let mut entries = TarReader::new(archive);
    let mut found = Vec::new();
    while let Some(entry) = entries.next()? {
        found.push((String::from_utf8_lossy(&entry.path).into_owned(), entry.size));
    }
    Ok(found)
}

fn refused(why: &str, entries: &[u8]) {
    let archive = whole(&[entries.to_vec()]);
    assert!(matches!(read(&archive), Err(ImageError::Malformed(_))), "{why} was let through");
}

#[test]
fn a_record_inside_an_extended_attribute_is_no_record() {
    let hidden = pax(&[("SCHILY.xattr.user.x", b"\n15 path=hidden\n"), ("path", b"told")]);
    assert_eq!(read(&whole(&[hidden, file("header", b"12")])).unwrap(), [("told".into(), 2)]);
}

#[test]
fn what_readers_take_for_different_things_is_refused() {
    let f = || file("f", b"");
    let long = |name: &[u8]| raw("L", EntryType::GNULongName, name, |_| {});
    let dir_with_content = raw("d/", EntryType::Directory, &[b'x'; 512], |_| {});
    refused("a directory with content", &dir_with_content);
    refused("a link with content", &raw("l", EntryType::Link, b"x", |_| {}));
    refused("a file that ends in a slash", &file("f/", b""));
    refused("an old file", &raw("f/", EntryType::Regular, b"", |header| header[156] = 0));
    refused("an old header", &raw("f", EntryType::Regular, b"", |header| header[257..265].fill(0)));
    refused("GNU's access time", &raw("f", EntryType::Regular, b"", |header| header[345..347].copy_from_slice(b"17")));
    let global = |name: &str, records: &[u8]| raw(name, EntryType::XGlobalHeader, records, |_| {});
    refused("a global header", &[global(GIT, b"8 path=a\n"), f()].concat());
    refused("a global header of nothing", &global(GIT, b"13 comment=x\n"));
    refused("a global header of another name", &[global("etc/.wh.passwd", b"13 comment=x\n"), f()].concat());
    refused("a header of star", &raw("f", EntryType::Regular, b"", |header| header[508..512].copy_from_slice(b"tar\0")));
    refused("a NUL in a link's target", &[pax(&[("linkpath", b"a\0b")]), raw("l", EntryType::Symlink, b"", |_| {})].concat());
    refused("a Solaris header", &[raw("X", EntryType::new(b'X'), b"", |_| {}), f()].concat());
    refused("a sparse file", &raw("f", EntryType::GNUSparse, b"", |_| {}));
    refused("a sparse file in PAX", &[pax(&[("GNU.sparse.size", b"9")]), f()].concat());
    refused("another encoding", &[pax(&[("hdrcharset", b"ISO-IR 10646 2000 UTF-8")]), f()].concat());
    refused("two PAX headers", &[pax(&[]), pax(&[]), f()].concat());
    refused("a record twice", &[pax(&[("path", b"a"), ("path", b"b")]), f()].concat());
    refused("two long names", &[long(b"a\0"), long(b"b\0"), f()].concat());
    refused("a long name and PAX", &[long(b"a\0"), pax(&[("path", b"b")]), f()].concat());
    refused("a NUL in a name", &[long(b"a\0b\0"), f()].concat());
    refused("an attribute of no value", &[pax(&[("SCHILY.xattr.user.a", b"")]), f()].concat());
    refused("a link to nothing", &[pax(&[("linkpath", b"")]), raw("l", EntryType::Symlink, b"", |_| {})].concat());
    refused("two sizes", &[pax(&[("size", b"0")]), file("f", b"x")].concat());
    refused("a size that is no number", &[pax(&[("size", b"+1")]), file("f", b"x")].concat());
    refused("an extended header of nothing", &pax(&[("path", b"a")]));
    refused("a broken device", &raw("f", EntryType::Regular, b"", |header| header[329] = b'z'));
    for size in [
        &b"0000000000+1"[..],
        b"0o0000000001",
        b"0000000000_1",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x0000000001000",
        b"    \x000001000",
        b"00001\x00000100",
    ] {
        refused("a strange number", &raw("f", EntryType::Regular, b"", |header| header[124..136].copy_from_slice(size)));
    }
}

#[test]
fn numbers_are_read_as_writers_write_them() {
    for (size, bytes) in [
        (8, &b"00000000010\0"[..]),
        (8, b"         10 "),
        (8, b"10\0\0\0\0\0\0\0\0\0 "),
        (0, b"           \0"),
        (0, &[0; 12]),
        (8, b"\x80\0\0\0\0\0\0\0\0\0\0\x08"),
    ] {
        let archive = whole(&[raw("f", EntryType::Regular, &b"12345678"[..size as usize], |header| {
            header[124..136].copy_from_slice(bytes);
        })]);
        assert_eq!(read(&archive).unwrap(), [("f".into(), size)], "{bytes:?}");
    }
    // The year 1969, as GNU writes it.
    let archive = whole(&[raw("f", EntryType::Regular, b"", |header| header[136..148].fill(0xff))]);
    assert_eq!(TarReader::new(&archive[..]).next().unwrap().unwrap().meta.mtime, 0);
}

#[test]
fn links_devices_and_extended_attributes_are_reported() {
    let comment = raw(GIT, EntryType::XGlobalHeader, b"13 comment=x\n", |_| {});
    let records = pax(&[("SCHILY.xattr.user.a", b"1\n2"), ("linkpath", b"to/there")]);
    let device = raw("d", EntryType::Char, b"", |header| {
        header[329..336].copy_from_slice(b"0000005");
        header[337..344].copy_from_slice(b"0000001");
    });
    let archive = whole(&[comment, file("f", b"content"), records, raw("l", EntryType::Symlink, b"", |_| {}), device]);
    let mut entries = TarReader::new(&archive[..]);
    let first = entries.next().unwrap().unwrap();
    assert_eq!(&archive[first.position as usize..][..7], b"content");
    let link = entries.next().unwrap().unwrap();
    assert_eq!((link.link.as_slice(), link.xattrs[&b"user.a"[..]].as_slice()), (&b"to/there"[..], &b"1\n2"[..]));
    assert_eq!(entries.next().unwrap().unwrap().device, (5, 1));
}

#[test]
fn a_layer_may_lack_its_end_and_nothing_else() {
    let archive = file("f", b"content");
    let end = |archive: &[u8]| {
        let mut entries = TarReader::of_layer(archive);
        entries.next().and_then(|_| entries.next()).map(|entry| entry.is_none())
    };
    assert!(matches!(end(&archive), Ok(true)));
    for cut in [1, 511, 512, 513, 1023] {
        assert!(end(&archive[..cut]).is_err(), "cut at {cut}");
    }
    let git = [raw(GIT, EntryType::XGlobalHeader, b"13 comment=x\n", |_| {}), archive].concat();
    assert!(end(&git).is_err(), "engines act on a global header's name");
}

#[test]
fn a_wrong_checksum_and_an_early_end_are_refused() {
    let mut wrong = file("f", b"content");
    wrong[0] = b'g';
    refused("a wrong checksum", &wrong);
    let whole = whole(&[file("f", b"content")]);
    assert!(read(&whole[..1536]).is_ok(), "one block of zeros ends it");
    assert!(matches!(read(&[]), Err(ImageError::Foreign { kind: "empty", .. })));
    for cut in [1, 511, 512, 513, 1023, 1024, 1535] {
        assert!(matches!(read(&whole[..cut]), Err(ImageError::Malformed(_))), "cut at {cut}");
    }
}

#[test]
fn an_extended_header_cannot_fill_the_memory() {
    let mut endless = Header::new_gnu();
    endless.set_entry_type(EntryType::GNULongName);
    endless.set_size(1 << 40);
    endless.set_cksum();
    let archive = endless.as_bytes().chain(std::io::repeat(b'a'));
    assert!(matches!(TarReader::new(archive).next(), Err(ImageError::Limit(_))));
}
