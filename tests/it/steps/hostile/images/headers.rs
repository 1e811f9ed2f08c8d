//! Headers that readers disagree about, archives that do not end where they should, and bombs.

use std::process::Command;

use super::{DATA, LIMIT, MALFORMED, ORDER, RESULTS, Row};
use crate::steps::hostile::{
    archive::{Parts, entry, file, header, long_named, named, octal, pax, pax_of},
    case::Expected::{Either, Taken},
};

/// Classes 38 to 50.
pub fn rows(honest: &Parts) -> Vec<Row> {
    let results =
        |class, what: &str, blocks: Vec<u8>, expected| (class, what.to_owned(), honest.behind(RESULTS, blocks).bytes(), expected);
    let x = || b"opt/pht_results/x".to_vec();
    let sized = |size: &[u8; 12]| header(&x(), b'0', 0o644, size, "");
    let hidden = entry(&x(), b'0', &entry(b"opt/pht_train/hidden", b'0', b"hidden"));
    let mut rows = vec![
        results(38, "PAX says 0, the header more", [pax(&[("size", b"0")]), hidden.clone()].concat(), MALFORMED),
        results(
            38,
            "PAX says more, the header 0",
            [pax(&[("size", b"512")]), file("opt/pht_results/x"), hidden].concat(),
            MALFORMED,
        ),
        results(38, "two sizes in PAX", [pax(&[("size", b"0"), ("size", b"0")]), file("opt/pht_results/x")].concat(), MALFORMED),
        results(39, "x, L, file", [pax(&[("path", &x())]), long_named("opt/pht_results/y")].concat(), MALFORMED),
        results(39, "L, x, file", [entry(b"L", b'L', b"opt/pht_results/y\0"), named(&x())].concat(), MALFORMED),
        results(39, "two x", [pax(&[("path", &x())]), named(b"opt/pht_results/y")].concat(), MALFORMED),
        (39, "a header at the end".into(), [honest.endless(), pax(&[("path", &x())]), vec![0; 1024]].concat(), MALFORMED),
        (40, "a global path".into(), [pax_of(b'g', &[("path", b"opt/pht_train/x")]), honest.bytes()].concat(), MALFORMED),
        (40, "a global size".into(), honest.behind(RESULTS, pax_of(b'g', &[("size", b"0")])).bytes(), MALFORMED),
        results(41, "a PAX record of 64 MiB", [pax(&[("path", &vec![b'a'; 64 << 20])]), file("x")].concat(), LIMIT),
        results(41, "a PAX header that says 8 GiB", header(b"x", b'x', 0o644, &octal((1 << 33) - 1), ""), LIMIT),
        results(41, "a long name that says 8 GiB", header(b"x", b'L', 0o644, &octal((1 << 33) - 1), ""), LIMIT),
        results(42, "-1 in base 256", sized(&[0xff; 12]), MALFORMED),
        results(
            42,
            "2^64 and more in base 256",
            sized(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            MALFORMED,
        ),
        results(42, "2^63 in base 256", sized(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), MALFORMED),
        results(42, "-1 in octal", sized(b"-0000000001\0"), MALFORMED),
        results(43, "no octal digits", sized(b"99999999999\0"), MALFORMED),
        results(43, "all twelve digits", sized(b"777777777777"), Either("DISK_FULL", "ARCHIVE_MALFORMED")),
        results(43, "digits apart", sized(b"00000 000001"), MALFORMED),
        results(43, "none at all", sized(&[0; 12]), Taken("an empty field is nought, as everybody reads it")),
    ];
    let mut wrong = file("opt/pht_results/x");
    wrong[150] ^= 1;
    rows.push(results(44, "a wrong checksum", wrong, MALFORMED));
    let mut renamed = file("opt/pht_results/x");
    renamed[16] ^= 1;
    rows.push(results(44, "a name that was changed after it", renamed, MALFORMED));
    let whole = honest.bytes();
    let entries = honest.endless().len();
    for sixteenth in 0..15 {
        let cut = entries * sixteenth / 15;
        rows.push((45, format!("cut off after {cut} bytes"), whole[..cut].to_vec(), MALFORMED));
    }
    rows.push((45, "cut off within its end".into(), whole[..entries + 700].to_vec(), MALFORMED));
    rows.push((46, "without an end".into(), whole[..entries].to_vec(), MALFORMED));
    rows.push((46, "with half an end".into(), whole[..entries + 512].to_vec(), MALFORMED));
    let more = |bytes: &[u8]| [&whole[..], bytes].concat();
    rows.push((47, "a byte behind the end".into(), more(b"x"), MALFORMED));
    rows.push((47, "an entry behind the end".into(), more(&file("opt/pht_train/x")), MALFORMED));
    rows.push((47, "8 MiB of zeros behind the end".into(), more(&vec![0; 8 << 20]), MALFORMED));
    rows.push((47, "zeros up to a record's end".into(), more(&[0; 9 << 10]), Taken("writers fill records")));
    rows.push((48, "two archives".into(), more(&whole), MALFORMED));
    rows.push((48, "two archives, the first without an end".into(), [honest.endless(), whole.clone()].concat(), ORDER));
    let twice = |name: &str| honest.behind(RESULTS, [file(name), file(name)].concat()).bytes();
    rows.push((49, "a result twice".into(), twice("opt/pht_results/x"), ORDER));
    let data = honest.clone().blocks(DATA).clone();
    rows.push((49, "a listed file twice".into(), honest.behind(DATA, data).bytes(), ORDER));
    rows.push((49, "a directory twice".into(), honest.behind(RESULTS, entry(RESULTS.as_bytes(), b'5', b"")).bytes(), ORDER));
    rows.push(results(
        50,
        "a file, then a directory",
        [file("opt/pht_results/x"), entry(b"opt/pht_results/x/", b'5', b"")].concat(),
        ORDER,
    ));
    rows.push(results(
        50,
        "a directory, then a file",
        [entry(b"opt/pht_results/x/", b'5', b""), file("opt/pht_results/x")].concat(),
        ORDER,
    ));
    rows
}

/// Bytes that Python's library packs: `module` is `gzip` or `lzma`.
fn packed(module: &str, times: usize) -> Vec<u8> {
    let python = std::env::var_os("STATIONMASTER_PEER_206").expect("STATIONMASTER_PEER_206: `make test` sets it");
    let code = format!(
        "import {module},sys\nb=bytes(64<<20)\nfor _ in range({times}): b={module}.compress(b)\nsys.stdout.buffer.write(b)"
    );
    let made = Command::new(python).args(["-c", &code]).output().expect("Python");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// Classes 52 to 54.
pub fn bombs() -> Vec<Row> {
    let bomb = |class, what: &str, bytes: Vec<u8>| {
        assert!(bytes.len() < 1 << 20, "no bomb");
        (class, format!("{what}, {} bytes", bytes.len()), bytes, MALFORMED)
    };
    vec![
        bomb(52, "64 MiB in gzip", packed("gzip", 1)),
        bomb(53, "64 MiB in xz", packed("lzma", 1)),
        bomb(54, "64 MiB in gzip in gzip", packed("gzip", 2)),
    ]
}
