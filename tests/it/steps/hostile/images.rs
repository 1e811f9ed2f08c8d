//! The 76 hostile images: what an engine might answer for `/opt`.

mod headers;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    archive::{Parts, entry, file, header, link, long_named, named, octal, pax},
    case::{
        CANARY, Expected,
        Expected::{Either, Refused, Rule, Taken},
        Stage,
    },
};
use crate::support::{
    proxy::{Body, READ},
    tamper::fetched as honest,
};

/// The request for the config.
pub const CONFIG: &str = "train_config.json HTTP";
const RESULTS: &str = "opt/pht_results/";
const CODE: &str = "opt/pht_train/";
const DATA: &str = "opt/pht_train/data.bin";
const MALFORMED: Expected = Refused("ARCHIVE_MALFORMED");
const LIMIT: Expected = Refused("LIMIT_EXCEEDED");
const NAMES: Expected = Rule("plain-names");
const ORDER: Expected = Rule("unique-ordered-names");
const LINKS: Expected = Rule("no-links-or-special-files");

/// A row: the class, what it is, the archive, what must become of it.
type Row = (u32, String, Vec<u8>, Expected);

fn paths(honest: &Parts) -> Vec<Row> {
    let result = |class, name: &str, expected| {
        (class, format!("{name:?}"), honest.behind(RESULTS, named(format!("{RESULTS}{name}").as_bytes())).bytes(), expected)
    };
    let raw = |class, what: &str, path: &[u8], expected| {
        (class, what.to_owned(), honest.behind(RESULTS, named(path)).bytes(), expected)
    };
    let up = format!("../{CANARY}");
    let deep = |depth: usize| format!("{RESULTS}{}x", "d/".repeat(depth)).into_bytes();
    let twins = |class, what: &str, one: &str, other: &str| {
        let both = [named(format!("{CODE}{one}").as_bytes()), named(format!("{CODE}{other}").as_bytes())].concat();
        let why = "on the engine's file systems they are two names: they are kept apart byte for byte";
        (class, what.to_owned(), honest.behind(&last_of(honest, CODE), both).bytes(), Taken(why))
    };
    vec![
        result(1, &up, NAMES),
        raw(1, "up from the root", format!("../../{CANARY}").as_bytes(), MALFORMED),
        result(2, &format!("a/../../{CANARY}"), NAMES),
        raw(2, "down and up, from /opt", format!("opt/x/../../{CANARY}").as_bytes(), NAMES),
        raw(3, "absolute", format!("/{CANARY}").as_bytes(), MALFORMED),
        raw(3, "absolute, to /opt", b"/opt/pht_results/x", MALFORMED),
        result(3, &format!("/{CANARY}"), NAMES),
        (4, "the root as engines write it".into(), honest.bytes(), Taken("it is the honest archive")),
        (
            4,
            "the archive's own root".into(),
            honest.replaced("opt/", entry(b"./", b'5', b"")).bytes(),
            Taken("it says nothing of what is in it"),
        ),
        (4, "the archive's own root as a file".into(), honest.replaced("opt/", file("./.")).bytes(), MALFORMED),
        (4, "a root that is a file".into(), honest.replaced("opt/", file("opt")).bytes(), LINKS),
        raw(5, "no name at all, in PAX", b"", MALFORMED),
        (5, "no name at all".into(), honest.behind(RESULTS, file("")).bytes(), MALFORMED),
        result(5, "", MALFORMED),
        result(6, ".", NAMES),
        result(6, "..", NAMES),
        result(6, "a/./b", NAMES),
        result(7, "file/", MALFORMED),
        result(8, "/x", NAMES),
        result(8, "a//x", NAMES),
        result(8, &format!("..\\{CANARY}"), NAMES),
        raw(9, "NUL in a PAX path", b"opt/pht_results/a\0b", MALFORMED),
        raw(9, "NUL and a way up", b"opt/pht_results/a\0/../../x", MALFORMED),
        result(10, "a\nINFO all is well", NAMES),
        result(10, "\u{1b}[2J", NAMES),
        result(10, "a\u{2028}b", NAMES),
        raw(11, "not UTF-8", b"opt/pht_results/a\xff", NAMES),
        raw(11, "an overlong slash", b"opt/pht_results/..\xc0\xafx", NAMES),
        raw(11, "a surrogate", b"opt/pht_results/\xed\xa0\x80", NAMES),
        twins(12, "normal forms", "zz-twi\u{308}n", "zz-tw\u{ef}n"),
        twins(13, "case", "zz-TWIN", "zz-twin"),
        result(14, &"c".repeat(256), NAMES),
        raw(14, "a path of 4,097 bytes", format!("{RESULTS}{}", "c/".repeat(2041)).as_bytes(), MALFORMED),
        (14, "a path of 4,097 bytes, GNU's way".into(), honest.behind(RESULTS, long_named(&"c".repeat(4097))).bytes(), MALFORMED),
        raw(15, "1,000 deep", &deep(1000), NAMES),
        raw(15, "128 deep", &deep(128), NAMES),
        result(16, "invoice\u{202e}fdp.sh", NAMES),
        result(16, "a\u{2066}b\u{2069}", NAMES),
    ]
}

/// The last entry below a directory.
fn last_of(parts: &Parts, directory: &str) -> String {
    parts.names().into_iter().rfind(|name| name.starts_with(directory)).expect("an entry").to_owned()
}

fn links(honest: &Parts) -> Vec<Row> {
    let behind =
        |class, what: &str, blocks: Vec<u8>, expected| (class, what.to_owned(), honest.behind(RESULTS, blocks).bytes(), expected);
    let at = |name: &str| format!("{RESULTS}{name}");
    let instead = |class, name: &str, target: &str| {
        let name = format!("opt/{name}");
        let blocks = link(name.trim_end_matches('/'), b'2', target);
        (class, format!("{name} is a symlink"), honest.without(&name).behind("opt/", blocks).bytes(), LINKS)
    };
    vec![
        behind(17, "symlink, absolute", link(&at("x"), b'2', "/etc/passwd"), LINKS),
        behind(18, "symlink, up", link(&at("x"), b'2', &format!("../../{CANARY}")), LINKS),
        behind(19, "a file through a symlink", [link(&at("x"), b'2', "/tmp"), file(&at(&format!("x/{CANARY}")))].concat(), LINKS),
        behind(19, "a file below a file", [file(&at("x")), file(&at("x/y"))].concat(), ORDER),
        behind(19, "a file in a directory that is not there", file(&at("x/y")), ORDER),
        behind(
            20,
            "a symlink, then a directory of that name",
            [link(&at("x"), b'2', "/tmp"), entry(at("x/").as_bytes(), b'5', b"")].concat(),
            LINKS,
        ),
        behind(21, "symlink to .", link(&at("x"), b'2', "/."), LINKS),
        instead(22, "pht_results/", "/tmp"),
        instead(22, "pht_train/", "pht_results"),
        (23, "/opt is a symlink".into(), [link("opt", b'2', "/tmp"), vec![0; 1024]].concat(), LINKS),
        instead(24, "train_config.json", "/etc/passwd"),
        behind(25, "a loop", [link(&at("a"), b'2', "b"), link(&at("b"), b'2', "a")].concat(), LINKS),
        behind(26, "hard link out", link(&at("x"), b'1', "etc/shadow"), LINKS),
        behind(27, "hard link to a symlink", [link("opt/s", b'2', "/etc/shadow"), link(&at("x"), b'1', "opt/s")].concat(), LINKS),
        behind(28, "a result that is the code", link(&at("x"), b'1', DATA), LINKS),
        behind(29, "hard link before its target", [link(&at("x"), b'1', &at("y")), file(&at("y"))].concat(), LINKS),
    ]
}

fn types(honest: &Parts) -> Vec<Row> {
    let kind = |class, kind: u8, expected| {
        let blocks = entry(b"opt/pht_results/x", kind, b"");
        (class, format!("type {:?}", kind as char), honest.behind(RESULTS, blocks).bytes(), expected)
    };
    let elsewhere = |class, kind: u8| {
        (
            class,
            format!("type {:?}, elsewhere", kind as char),
            honest.behind("opt/", entry(b"opt/a", kind, b"")).bytes(),
            MALFORMED,
        )
    };
    let sparse =
        [pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"8796093022208")]), file("opt/pht_results/x")].concat();
    let mut raised = honest.clone();
    let content = raised.blocks(DATA)[512..].to_vec();
    let size = tar::Header::from_byte_slice(&raised.blocks(DATA)[..512]).entry_size().expect("a size");
    let capability = pax(&[("SCHILY.xattr.security.capability", b"\x01\0\0\x02\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0")]);
    let raised = [capability, header(DATA.as_bytes(), b'0', 0o6755, &octal(size), ""), content].concat();
    vec![
        kind(30, b'3', LINKS),
        kind(31, b'4', LINKS),
        kind(32, b'6', LINKS),
        kind(33, b'Z', MALFORMED),
        elsewhere(33, b'Z'),
        kind(33, 0xff, MALFORMED),
        kind(34, b'S', MALFORMED),
        (34, "8 TiB in PAX".into(), honest.behind(RESULTS, sparse).bytes(), MALFORMED),
        kind(35, b'7', LINKS),
        kind(36, b'M', MALFORMED),
        kind(36, b'V', MALFORMED),
        kind(36, b'D', MALFORMED),
        elsewhere(36, b'V'),
        (
            37,
            "set-id bits and a capability".into(),
            honest.replaced(DATA, raised).bytes(),
            Taken("set-id bits and attributes are left behind"),
        ),
    ]
}

fn layers_and_engine(honest: &Parts) -> Vec<Row> {
    let result = |class, name: &str, expected| {
        (class, format!("{name:?}"), honest.behind(RESULTS, file(&format!("{RESULTS}{name}"))).bytes(), expected)
    };
    let behind_opt =
        |class, name: &str, expected| (class, format!("{name:?}"), honest.behind("opt/", file(name)).bytes(), expected);
    let magic = |bytes: &[u8], expected| {
        let blocks = named(&[b"opt/pht_results/", bytes].concat());
        (68, format!("a name that starts like a compression: {bytes:?}"), honest.behind(RESULTS, blocks).bytes(), expected)
    };
    let extra = honest.behind(&last_of(honest, CODE), file("opt/pht_train/zz-unlisted.sh")).bytes();
    vec![
        result(58, ".wh.data.bin", NAMES),
        result(58, ".wh..wh..opq", NAMES),
        result(58, ".wh...", NAMES),
        behind_opt(59, "opt/.wh..wh..opq", NAMES),
        (59, "a root's".into(), honest.behind("opt/", file(".wh..wh..opq")).bytes(), MALFORMED),
        behind_opt(60, "opt/.wh.pht_train", NAMES),
        magic(b"BZh91AY&SY", Taken("what we write begins with a directory of ours")),
        magic(b"\x1f\x8b\x08", NAMES),
        magic(b"\xfd7zXZ\0", MALFORMED),
        (74, "an extra file".into(), extra, Taken("it is dropped, and said to be")),
        (75, "a listed file is missing".into(), honest.without(DATA).bytes(), Rule("listed-files-present")),
        (75, "no code at all".into(), honest.without(CODE).bytes(), Rule("both-directories-present")),
        (75, "no results at all".into(), honest.without(RESULTS).bytes(), Rule("both-directories-present")),
    ]
}

#[test]
fn every_hostile_image_is_refused_for_its_reason_and_changes_nothing() {
    let mut stage = Stage::set();
    let parts = Parts::of(&honest(&stage.scene().engine, &stage.scene().train.image, "/opt"));
    let rows = [paths(&parts), links(&parts), types(&parts), headers::rows(&parts), headers::bombs(), layers_and_engine(&parts)]
        .concat();
    for (class, what, archive, expected) in rows {
        stage.proxied.proxy.reply(READ, 1, Body::tar(archive));
        let outcome = stage.judge(class, &what, expected);
        if let Some(outcome) = outcome {
            taken(class, &outcome);
        }
    }
    config_is_a_link(&mut stage);
    too_much(&mut stage, &parts);
    crate::steps::hostile::engine::rows(&mut stage);
    stage.close("hostile images", 76, 76);
}

/// What keeps an input harmless that is taken.
fn taken(class: u32, outcome: &stationmaster_proto::PreRunOutcome) {
    let dropped = &outcome.dropped_files;
    match class {
        12 => assert_eq!(*dropped, ["zz-twi\u{308}n", "zz-tw\u{ef}n"]),
        13 => assert_eq!(*dropped, ["zz-TWIN", "zz-twin"]),
        74 => {
            assert_eq!(*dropped, ["zz-unlisted.sh"]);
            assert!(!outcome.warnings.is_empty());
        }
        _ => assert!(dropped.is_empty(), "{class}: {dropped:?}"),
    }
}

/// The config's own archive.
fn config_is_a_link(stage: &mut Stage) {
    let config = honest(&stage.scene().engine, &stage.scene().train.image, "/opt/train_config.json");
    let twice = [Parts::of(&config).endless(), config.clone()].concat();
    for (class, what, archive, expected) in [
        (24, "the config is a symlink", [link("train_config.json", b'2', "/etc/passwd"), vec![0; 1024]].concat(), LINKS),
        (24, "the config is a pipe", [entry(b"train_config.json", b'6', b""), vec![0; 1024]].concat(), LINKS),
        (24, "the config is another file", [file("other.json"), vec![0; 1024]].concat(), LINKS),
        (45, "the config is cut off", config[..700].to_vec(), MALFORMED),
        (46, "the config's archive does not end", Parts::of(&config).endless(), MALFORMED),
        (49, "the config is there twice", twice, MALFORMED),
    ] {
        stage.proxied.proxy.reply(CONFIG, 1, Body::tar(archive));
        stage.judge(class, what, expected);
    }
}

/// Archives without an end in sight.
fn too_much(stage: &mut Stage, honest: &Parts) {
    let start = Bytes::from(honest.endless());
    let end: Arc<[u8]> = vec![0; 1024].into();
    // 10^6 empty results, 512 bytes each.
    let before = Bytes::from(Parts::of(&honest.bytes()).without(CODE).endless());
    let many = move |piece: u64| match piece {
        0 => Some(before.clone()),
        1..=1000 => Some((0..1000).flat_map(|at| file(&format!("{RESULTS}{:08}", (piece - 1) * 1000 + at))).collect()),
        1001 => Some(Bytes::copy_from_slice(&end)),
        _ => None,
    };
    stage.proxied.proxy.reply(READ, 1, Body::made(many));
    stage.judge(51, "a million files", LIMIT);

    let large = |size: u64, name: &str| {
        let mut base256 = [0; 12];
        base256[0] = 0x80;
        base256[4..].copy_from_slice(&size.to_be_bytes());
        let mut start = honest.clone();
        let directory = start.blocks(RESULTS).clone();
        Bytes::from([&start.blocks("opt/")[..], &directory, &header(name.as_bytes(), b'0', 0o644, &base256, "")].concat())
    };
    let endless = |first: Bytes| {
        let zeros = Bytes::from(vec![0; 64 * 1024]);
        Body::made(move |piece| Some(if piece == 0 { first.clone() } else { zeros.clone() }))
    };
    for (class, what, size) in [(57, "a file of 100 PiB", 100 << 50), (57, "a file of 4 EiB", 1 << 62)] {
        stage.proxied.proxy.reply(READ, 1, endless(large(size, "opt/pht_results/large")));
        stage.judge(class, what, Refused("DISK_FULL"));
    }
    stage.proxied.proxy.reply(READ, 1, Body::tar(large(100 << 30, "opt/pht_results/large")));
    stage.judge(57, "a file of 100 GiB of which nothing comes", Either("DISK_FULL", "ARCHIVE_MALFORMED"));

    // These end when the caller's patience does.
    for (class, what, body) in [
        (55, "4 EiB beside the train, as fast as they go", endless(large(1 << 62, "opt/aaa"))),
        (
            56,
            "a byte a second",
            Body::Made(
                Arc::new(move |piece: u64| start.get(piece as usize..=piece as usize).map(Bytes::copy_from_slice)),
                Duration::from_secs(1),
            ),
        ),
    ] {
        stage.proxied.proxy.reply(READ, 1, body);
        crate::steps::hostile::engine::ends_with_its_deadline(stage, class, what);
    }
}
