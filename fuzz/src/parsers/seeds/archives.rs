//! Archives: the writers' own, and the attacks of the catalogue, one each.

use super::super::tar_shape::{archive, entry, records};

fn plain(_: &mut [u8]) {}

fn gnu(header: &mut [u8]) {
    header[257..265].copy_from_slice(b"ustar  \0");
}

fn dir(name: &[u8]) -> Vec<u8> {
    entry(name, b'5', b"", plain)
}

fn file(name: &[u8], content: &[u8]) -> Vec<u8> {
    entry(name, b'0', content, plain)
}

fn set(at: usize, bytes: &'static [u8]) -> impl Fn(&mut [u8]) {
    move |header| header[at..at + bytes.len()].copy_from_slice(bytes)
}

/// An honest `/opt` around what is in it.
fn opt(middle: &[Vec<u8>]) -> Vec<u8> {
    let start = [dir(b"opt/"), dir(b"opt/pht_results/"), file(b"opt/pht_results/0", b"0"), dir(b"opt/pht_train/")];
    archive(&[&start[..], middle, &[file(b"opt/pht_train/z.py", b"print()"), file(b"opt/train_config.json", b"{}")]].concat())
}

/// Archives of `/opt`.
pub fn opt_archives() -> Vec<Vec<u8>> {
    let long = [&b"opt/pht_train/"[..], &b"d/".repeat(60), b"file"].concat();
    let name = |name: &[u8]| [name, b"\0"].concat();
    let inside = [
        vec![dir(b"opt/pht_train/d/"), file(b"opt/pht_train/d/f", &[7; 513])],
        vec![entry(b"L", b'L', &name(&long), gnu), entry(&long, b'0', b"x", gnu)],
        vec![
            entry(b"x", b'x', &records(&[("path", &long), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"\n9 a=b\n")]), plain),
            file(b"s", b"x"),
        ],
        vec![
            entry(b"x", b'x', &records(&[("SCHILY.xattr.user.a", b"\n27 path=opt/pht_train/b\n")]), plain),
            file(b"opt/pht_train/a", b"x"),
        ],
        vec![entry(b"x", b'x', &records(&[("size", b"0")]), plain), file(b"opt/pht_train/a", &[0; 512])],
        vec![
            entry(b"x", b'x', &records(&[("path", b"opt/pht_train/a")]), plain),
            entry(b"L", b'L', &name(b"opt/pht_train/b"), gnu),
            file(b"c", b""),
        ],
        vec![entry(b"g", b'g', &records(&[("path", b"opt/pht_train/a")]), plain), file(b"opt/pht_train/b", b"")],
        vec![entry(b"opt/pht_train/a", b'0', b"", set(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))],
        vec![entry(b"opt/pht_train/a", b'0', b"", set(108, b"\x80\0\0\0\0\x2d\xc6\xc0"))],
        vec![entry(b"opt/pht_train/a", b'0', b"", set(100, b"7777777\0"))],
        vec![entry(b"opt/pht_train/a", b'0', b"", set(124, b"\x0000000001000")), dir(b"opt/pht_train/b/")],
        vec![entry(b"opt/pht_train/a", b'0', b"", set(108, b" \x0001750\0"))],
        vec![entry(b"a", b'0', b"x", set(345, b"opt/pht_train"))],
        vec![entry(b"opt/pht_train/a/", b'\0', b"", plain)],
        vec![entry(b"opt/pht_train/a", b'\0', b"", set(257, b"\0\0\0\0\0\0\0\0"))],
        vec![entry(b"opt/pht_train/a/", b'5', &[b'x'; 512], plain)],
        vec![entry(b"opt/pht_train/a", b'S', b"", gnu)],
        vec![entry(b"opt/pht_train/a", b'1', b"", set(157, b"opt/pht_train/z.py"))],
        vec![entry(b"opt/pht_train/a", b'2', b"", set(157, b"/etc"))],
        vec![entry(b"opt/pht_train/a", b'3', b"", set(329, b"0000001\x000000003\0"))],
        vec![entry(b"opt/tool", b'2', b"", set(157, b"/bin/sh"))],
        vec![file(b"opt/pht_train/a", b""), dir(b"opt/pht_train/a/")],
        vec![file(b"opt/pht_train/b", b""), file(b"opt/pht_train/a", b"")],
        vec![file(b"opt/pht_train/.wh.a", b"")],
        vec![file(b"opt/pht_train/../x", b"")],
        vec![file(b"/etc/passwd", b"")],
        vec![file(b"opt/pht_train/a\xff", b"")],
        vec![file(b"opt/pht_train/a\x1b[2J", b"")],
        vec![file(b"BZh91AY", b"")],
        vec![entry(b"opt/pht_train/a", b'7', b"x", plain)],
        vec![entry(b"././@LongLink", b'L', &vec![b'a'; 5000], gnu), file(b"x", b"")],
    ];
    let mut found: Vec<Vec<u8>> = inside.iter().map(|entries| opt(entries)).collect();
    let whole = opt(&[]);
    for cut in [0, 1, 256, 511, 512, 513, 1024, 2049, whole.len() - 1024, whole.len() - 1] {
        found.push(whole[..cut].to_vec());
    }
    found.push([&whole[..], &whole].concat());
    let mut broken = whole.clone();
    broken[600] ^= 1;
    found.push(broken);
    found.push(whole);
    found
}

/// Archives of the config file alone.
pub fn config_files() -> Vec<Vec<u8>> {
    let name = b"train_config.json";
    vec![
        archive(&[file(name, b"{\"@id\":\"t\"}")]),
        archive(&[entry(name, b'2', b"", set(157, b"/etc/passwd"))]),
        archive(&[dir(name)]),
        archive(&[file(b"other.json", b"{}")]),
        archive(&[entry(b"x", b'x', &records(&[("path", name)]), plain), file(b"x", b"{}")]),
        archive(&[entry(name, b'0', b"", set(124, b"77777777777\0"))]),
        archive(&[]),
    ]
}

/// Archives of whole images.
pub fn saved_images() -> Vec<Vec<u8>> {
    let layer = |entries: &[Vec<u8>]| archive(entries);
    let base = layer(&[dir(b"etc/"), file(b"etc/passwd", b"root"), dir(b"opt/"), file(b"opt/old", b"1"), file(b"gone", b"")]);
    let layers = [
        layer(&[dir(b"opt/"), file(b"opt/.wh..wh..opq", b""), file(b"opt/new", b"2"), file(b".wh.gone", b"")]),
        layer(&[entry(b"hard", b'1', b"", set(157, b"etc/passwd")), file(b"a", b"1"), entry(b"l", b'1', b"", set(157, b"a"))]),
        layer(&[entry(b"s", b'2', b"", set(157, b"../..")), entry(b"c", b'3', b"", plain), entry(b"p", b'6', b"", plain)]),
        layer(&[
            entry(b"x", b'x', &records(&[("path", b"long"), ("SCHILY.xattr.security.capability", b"\x01\0\0\x02")]), plain),
            file(b"s", b""),
        ]),
        layer(&[file(b"../x", b"")]),
        layer(&[file(b"/abs", b""), file(b"./dot", b""), file(b".wh..wh.plnk", b""), file(b".wh.", b"")]),
        layer(&[entry(b"sparse", b'S', b"", gnu)]),
        layer(&[entry(b"opt/pht_train/l", b'1', b"", set(157, b"etc/passwd"))]),
        layer(&[
            file(b"etc/passwd", b"root"),
            entry(b"opt/l", b'1', b"", |header| {
                set(157, b"etc/passwd")(header);
                set(100, b"0004777")(header);
            }),
        ]),
        layer(&[file(b".wh.etc", b""), dir(b"etc/"), file(b"etc/passwd", b"root")]),
        layer(&[file(b"etc/passwd", b"root"), file(b"etc/.wh.passwd", b"")]),
        layer(&[file(b"gone/.wh.x", b""), file(b"opt", b"")]),
        layer(&[dir(b"opt/pht_train/"), file(b"opt/pht_train/a", b"x"), file(b"opt/pht_train/a", b"y")]),
        layer(&[
            file(b"opt/pht_results/r", &[7; 600]),
            file(b"opt/train_config.json", b"{}"),
            entry(b"opt/tool", b'2', b"", set(157, b"/x")),
        ]),
        layer(&[entry(b"g", b'g', &records(&[("comment", b"x")]), plain), entry(b"opt/pht_train/v", 0, b"1", plain)]),
        layer(&[entry(b"pax_global_header", b'g', &records(&[("comment", b"x")]), plain), file(b"a", b"")]),
        layer(&[file(b"new/.wh.x", b""), file(b"more/.wh..wh..opq", b""), file(b"etc/.wh..wh.x", b"")]),
        layer(&[file(b".wh..wh..opq", b""), file(b"etc/.wh.x/y", b"")]),
        layer(&[entry(b"x", b'x', &records(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")]), plain), dir(b"etc/")]),
        layer(&[entry(b"x", b'x', &records(&[("SCHILY.xattr.user.a", b"1")]), plain), dir(b"etc/"), dir(b"etc/")]),
        layer(&[entry(b"nul", b'0', b"", set(100, b"\x000004755"))]),
        layer(&[]),
        b"\x1f\x8b\x08\0\0\0\0\0".to_vec(),
    ];
    // Where names state no digest, what is changed in a layer is still read to its end.
    let mut found: Vec<Vec<u8>> = layers.iter().map(|layer| saved("", &[&base, layer])).collect();
    let d = |mode: &'static [u8]| layer(&[entry(b"opt/d/", b'5', b"", set(100, mode))]);
    let (hides, below) = (layer(&[file(b"opt/.wh..wh..opq", b"")]), layer(&[file(b"opt/d/f", b"")]));
    found.push(saved("", &[&base, &d(b"0002777"), &hides, &below]));
    found.push(saved("", &[&base, &d(b"0000755"), &hides, &below]));
    let given = layer(&[entry(b"x", b'x', &records(&[("SCHILY.xattr.user.a", b"1")]), plain), dir(b"etc/")]);
    found.push(saved("", &[&base, &given, &layer(&[dir(b"etc/")])]));
    found.push(saved("", &[&base]));
    found.push(saved("blobs/sha256/", &[&base]));
    found.push(saved("x/", &[]));
    let manifest = |text: &str| archive(&[file(b"manifest.json", text.as_bytes()), file(b"0/layer.tar", &base)]);
    for text in [
        "",
        "[]",
        "{}",
        r#"[{"Config":"c","Layers":["0/layer.tar","0/layer.tar"]}]"#,
        r#"[{"Config":"c","Layers":["../../etc/passwd"]}]"#,
        r#"[{"Config":"c","Layers":[]},{"Config":"d","Layers":[]}]"#,
        r#"[{"Config":1,"Layers":null}]"#,
    ] {
        found.push(manifest(text));
    }
    let link = entry(b"1/layer.tar", b'2', b"", set(157, b"../0/layer.tar"));
    let out = entry(b"1/layer.tar", b'2', b"", set(157, b"../../layer.tar"));
    for link in [link, out] {
        let manifest = file(b"manifest.json", br#"[{"Config":"c","Layers":["0/layer.tar","1/layer.tar"]}]"#);
        found.push(archive(&[file(b"0/layer.tar", &base), link, manifest]));
    }
    found
}

fn saved(folder: &str, layers: &[&[u8]]) -> Vec<u8> {
    let digest = |layer: &[u8]| const_hex::encode(openssl::sha::sha256(layer));
    let name = |i: usize| if folder.is_empty() { format!("{i}/layer.tar") } else { format!("{folder}{}", digest(layers[i])) };
    let names: Vec<String> = (0..layers.len()).map(name).collect();
    let manifest = serde_json::json!([{ "Config": "none.json", "RepoTags": ["a:b"], "Layers": names }]).to_string();
    let mut entries: Vec<Vec<u8>> = names.iter().zip(layers).map(|(name, layer)| file(name.as_bytes(), layer)).collect();
    entries.push(file(b"manifest.json", manifest.as_bytes()));
    archive(&entries)
}
