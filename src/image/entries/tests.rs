use super::*;

/// A header with these fields, and a true checksum.
fn header(name: &str, kind: u8, size: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_entry_type(EntryType::new(kind));
    header.as_old_mut().size[..size.len()].copy_from_slice(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut entry = header(name, kind, format!("{:011o}\0", content.len()).as_bytes());
    entry.extend(content);
    entry.resize(entry.len().next_multiple_of(BLOCK), 0);
    entry
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(name, value): &(&str, &str)| {
        let rest = format!(" {name}={value}\n");
        let len = (rest.len()..).find(|len| rest.len() + len.to_string().len() == *len).unwrap();
        format!("{len}{rest}")
    };
    entry("pax", b'x', records.iter().map(record).collect::<String>().as_bytes())
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [&parts.concat()[..], &[0; 2 * BLOCK]].concat()
}

fn read(archive: &[u8]) -> Result<Vec<(String, u64, Vec<u8>)>, ImageError> {
    let mut entries = Entries::new(archive);
    let mut all = Vec::new();
    while let Some(head) = entries.next()? {
        let mut content = Vec::new();
        let mut piece = [0; 7];
        loop {
            match entries.read_content(&mut piece)? {
                0 => break,
                count => content.extend_from_slice(&piece[..count]),
            }
        }
        all.push((String::from_utf8(head.path).unwrap(), head.uid, content));
    }
    Ok(all)
}

fn refused(parts: &[Vec<u8>]) -> bool {
    matches!(read(&archive(parts)), Err(ImageError::Malformed(_) | ImageError::Limit(_)))
}

#[test]
fn what_engines_write_is_read() {
    let long = "d/".repeat(100) + "file";
    let gnu = [entry("././@LongLink", b'L', format!("{long}\0").as_bytes()), entry("d/d", b'0', b"123")].concat();
    let posix =
        [pax(&[("path", "ü/x"), ("uid", "3000000"), ("SCHILY.xattr.a", "b"), ("mtime", "1.5")]), entry("x", b'0', b"12345678")];
    let all = read(&archive(&[gnu, posix.concat(), entry("old", 0, b""), entry("link", b'2', b"")])).unwrap();
    let expected = [
        (long, 0, b"123".to_vec()),
        ("ü/x".into(), 3_000_000, b"12345678".to_vec()),
        ("old".into(), 0, Vec::new()),
        ("link".into(), 0, Vec::new()),
    ];
    assert_eq!(all, expected);
    // Records are filled with zeros.
    assert_eq!(read(&[archive(&[entry("a", b'0', b"")]), vec![0; 9216]].concat()).unwrap().len(), 1);
    assert!(read(&[0; 2 * BLOCK]).unwrap().is_empty());
}

#[test]
fn a_large_size_may_stand_in_the_pax_header_alone() {
    let large = (1u64 << 33).to_string();
    let mut entries = Entries::new(io::Cursor::new([pax(&[("size", &large)]), entry("a", b'0', b"")].concat()));
    assert_eq!(entries.next().unwrap().unwrap().size, 1 << 33);
    let mut base256 = [0u8; 12];
    (base256[0], base256[7]) = (0x80, 1);
    let mut entries = Entries::new(io::Cursor::new(header("a", b'0', &base256)));
    assert_eq!(entries.next().unwrap().unwrap().size, 1 << 32);
}

#[test]
fn two_sizes_or_two_names_for_one_entry_are_refused() {
    let file = || entry("a", b'0', b"123");
    let name = || entry("././@LongLink", b'L', b"b\0");
    for parts in [
        vec![pax(&[("size", "2")]), file()],
        vec![pax(&[("size", "512")]), entry("a", b'0', b"")],
        vec![pax(&[("size", "3"), ("size", "3")]), file()],
        vec![pax(&[("path", "b"), ("path", "c")]), file()],
        vec![pax(&[("path", "b")]), name(), file()],
        vec![name(), pax(&[("path", "b")]), file()],
        vec![name(), name(), file()],
        vec![pax(&[("path", "b")]), pax(&[("uid", "1")]), file()],
        vec![pax(&[("path", "")]), file()],
        vec![pax(&[("size", "-1")]), file()],
        vec![pax(&[("size", "+3")]), file()],
        vec![pax(&[("GNU.sparse.major", "1")]), file()],
    ] {
        assert!(refused(&parts), "{parts:?}");
    }
    assert!(!refused(&[pax(&[("size", "3")]), name(), file()]));
}

#[test]
fn what_engines_do_not_write_is_refused() {
    for kind in [b'7', b'S', b'M', b'V', b'D', b'g', b'X', b'N', b'Z', 0xff] {
        assert!(refused(&[entry("a", kind, b"")]), "{}", kind as char);
    }
    for kind in b'1'..=b'6' {
        assert!(refused(&[entry("a", kind, b"content")]), "{}", kind as char);
    }
    for size in [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\0\0\x01\0\0\0\0\0\0\0\0",
        b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert!(refused(&[header("a", b'0', size)]));
    }
    for size in [b"99999999999\0", b"-0000000001\0", b"0000000 001\0", b"0x000000001\0", b"            "] {
        assert!(refused(&[header("a", b'0', size)]), "{size:?}");
    }
    let mut changed = entry("a", b'0', b"");
    changed[0] ^= 1;
    assert!(refused(&[changed]), "the checksum");
}

#[test]
fn a_layer_is_read_as_builders_write_it() {
    let kinds = |archive: &[u8]| {
        let mut entries = Entries::of_layer(archive);
        let mut all = Vec::new();
        while let Some(head) = entries.next()? {
            all.push((head.kind, head.target, head.xattrs));
        }
        Ok::<_, ImageError>(all)
    };
    let parts =
        [entry("g", b'g', b"52 comment=..."), pax(&[("linkpath", "b"), ("SCHILY.xattr.user.a", "c")]), entry("a", b'2', b"")];
    let expected = vec![
        (EntryType::Symlink, Some(b"b".to_vec()), vec![(b"user.a".to_vec(), b"c".to_vec())]),
        (EntryType::Regular, None, Vec::new()),
    ];
    let whole = [&parts.concat()[..], &entry("c", b'7', b"content")].concat();
    for end in [&[][..], &[0; BLOCK], &[0; 2 * BLOCK], &[&[0; 2 * BLOCK][..], b"more"].concat()] {
        assert_eq!(kinds(&[&whole, end].concat()).unwrap(), expected);
    }
    assert!(kinds(&whole[..whole.len() - 1]).is_err(), "cut off within a file");
    assert!(kinds(&entry("a", b'S', b"")).is_err());
}

#[test]
fn extensions_are_read_within_bounds() {
    for (kind, size) in [(b'x', 1u64 << 26), (b'L', 4098), (b'K', 1 << 32)] {
        let parts = header("long", kind, format!("{size:011o}\0").as_bytes());
        assert!(matches!(read(&parts), Err(ImageError::Limit(_))), "{}", kind as char);
    }
    for records in ["9 a=b\n", "5 ab\n", "x a=b\n", " a=b\n", "999999999999999999999 a=b\n", "6 a=bc", "0 a=b\n", "1 a=b\n"] {
        assert!(refused(&[entry("pax", b'x', records.as_bytes()), entry("a", b'0', b"")]), "{records:?}");
    }
}

#[test]
fn an_archive_ends_where_it_says_and_nowhere_else() {
    let whole = archive(&[pax(&[("path", "b")]), entry("a", b'0', &[7; 700]), entry("c", b'0', b"1")]);
    for cut in 0..whole.len() {
        assert!(matches!(read(&whole[..cut]), Err(ImageError::Malformed(_))), "cut at {cut}");
    }
    assert!(refused(&[pax(&[("path", "b")])]) && refused(&[entry("L", b'L', b"b")]), "a header without its entry");
    for behind in [&whole[..], b"x", &[&[0; 600][..], b"x"].concat(), &vec![0; END_LIMIT + 1]] {
        assert!(matches!(read(&[&whole[..], behind].concat()), Err(ImageError::Malformed(_))));
    }
    let one = [entry("a", b'0', b""), vec![0; BLOCK], entry("b", b'0', b""), vec![0; 2 * BLOCK]].concat();
    assert!(matches!(read(&one), Err(ImageError::Malformed(_))), "one block of zeros");
}
