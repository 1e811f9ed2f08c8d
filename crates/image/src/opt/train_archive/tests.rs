use stationmaster_train::{names::FilePath, proof::FoundDirectory, rule::Rule};
use tar::EntryType;

use crate::{
    opt::train_archive::*,
    test_archives::{DIR, FILE, Item, saved, tar_of},
};

/// Returns a `docker save` archive of layers with these entries.
fn saved_of(layers: &[&[Item<'_>]], blobs: bool) -> Vec<u8> {
    saved(&layers.iter().map(|entries| tar_of(entries)).collect::<Vec<_>>(), blobs)
}

fn read(archive: &[u8]) -> Result<TrainFiles, ImageError> {
    read_train(archive, &|| Ok(()))
}

/// Returns the findings as comparable text.
fn told(archive: &[u8]) -> String {
    let TrainFiles { config, found, .. } = read(archive).unwrap();
    let names = |directory: &FoundDirectory| directory.files().map(FilePath::as_str).collect::<Vec<_>>().join(",");
    format!(
        "{:?} {:?} code {} {} results {} {}",
        config.map(|config| String::from_utf8(config).unwrap()),
        found.user_key,
        found.code.is_there,
        names(&found.code),
        found.results.is_there,
        names(&found.results),
    )
}

const SEALED: &[u8] = &[0x5a; 48];

#[test]
fn the_three_kinds_of_archives_tell_the_same_of_one_train() {
    let opt: [Item<'_>; 7] = [
        ("opt/", DIR, b""),
        ("opt/pht_results/", DIR, b""),
        ("opt/pht_results/a", FILE, SEALED),
        ("opt/pht_train/", DIR, b""),
        ("opt/pht_train/run", FILE, SEALED),
        ("opt/train_config.json", FILE, b"{}"),
        ("opt/user_sym_key.key", FILE, b"key"),
    ];
    let whole = told(&tar_of(&opt));
    assert_eq!(whole, r#"Some("{}") Some([107, 101, 121]) code true run results true a"#);
    let bare: Vec<Item<'_>> = opt[1..].iter().map(|(path, kind, content)| (&path[4..], *kind, *content)).collect();
    assert_eq!(told(&tar_of(&bare)), whole);
    let lower: [Item<'_>; 6] = [
        ("opt/", DIR, b""),
        ("opt/pht_results/", DIR, b""),
        ("opt/pht_results/gone", FILE, b"plain"),
        ("opt/pht_train/old", FILE, b"plain"),
        ("opt/train_config.json", FILE, b"[]"),
        ("etc/passwd", FILE, b"x"),
    ];
    let marks: [Item<'_>; 2] = [("opt/pht_results/.wh.gone", FILE, b""), ("opt/pht_train/.wh..wh..opq", FILE, b"")];
    let upper = [&opt[..], &marks].concat();
    for blobs in [false, true] {
        assert_eq!(told(&saved_of(&[&lower, &upper], blobs)), whole, "blobs: {blobs}");
    }
    // Repacked by hand: every name below the archive's own root, in any order, with macOS metadata of a file.
    for archive in [tar_of(&opt), tar_of(&bare), saved_of(&[&lower, &upper], false), saved_of(&[&lower, &upper], true)] {
        assert_eq!(told(&packed_anew(&archive)), whole);
    }
}

/// Returns the archive with its entries in reverse order, named as `tar -cf - .` does.
fn packed_anew(archive: &[u8]) -> Vec<u8> {
    let mut entries: Vec<(String, EntryType, Vec<u8>)> = Vec::new();
    let mut read = TarReader::new(archive);
    while let Some(entry) = read.next().unwrap() {
        let mut content = Vec::new();
        read.read_to_end(&mut content).unwrap();
        entries.push((format!("./{}", String::from_utf8(entry.path).unwrap()), entry.kind, content));
    }
    entries.reverse();
    let notes: [Item<'_>; 2] = [("./", DIR, b""), ("./._manifest.json", FILE, b"\0\x05\x16\x07")];
    let is_saved = entries.iter().any(|(name, ..)| name == "./manifest.json");
    let items = entries.iter().map(|(name, kind, content)| (name.as_str(), *kind, content.as_slice()));
    tar_of(&notes[..if is_saved { 2 } else { 1 }].iter().copied().chain(items).collect::<Vec<_>>())
}

#[test]
fn what_the_extractor_delivers_may_come_in_any_order_and_lacks_the_code() {
    for entries in [
        [("pht_results/", DIR, &b""[..]), ("pht_results/a", FILE, SEALED), ("train_config.json", FILE, b"{}")],
        [("train_config.json", FILE, b"{}"), ("pht_results/", DIR, b""), ("pht_results/a", FILE, SEALED)],
        [("pht_results/", DIR, b""), ("train_config.json", FILE, b"{}"), ("pht_results/a", FILE, SEALED)],
    ] {
        let archive = tar_of(&entries);
        assert!(read(&archive).unwrap().found.without_code);
        assert_eq!(told(&archive), r#"Some("{}") None code false  results true a"#);
    }
}

#[test]
fn what_is_no_archive_of_a_train_is_refused() {
    let results: Item<'_> = ("opt/pht_results/a", FILE, SEALED);
    let other: [&[Item<'_>]; 6] = [
        &[],
        &[("other/passwd", FILE, b"")],
        &[results, ("etc/passwd", FILE, b"")],
        &[("train_config.json", FILE, b"{}"), ("more", FILE, b"")],
        &[("train_config.json", FILE, b"{}"), results],
        &[("manifest.json", FILE, b"[]")],
    ];
    for entries in other {
        assert!(matches!(read(&tar_of(entries)), Err(ImageError::Malformed(_))), "{entries:?}");
    }
    // The output of `docker export` is another kind of file.
    assert!(matches!(read(&tar_of(&[("etc/passwd", FILE, b"")])), Err(ImageError::Foreign { .. })));
    let whole = tar_of(&[results]);
    for cut in 0..whole.len() - 1 {
        assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let gzip = saved_of(&[&[results]], true);
    let mut entries = tar::Archive::new(&gzip[..]);
    let at = entries.entries().unwrap().next().unwrap().unwrap().raw_file_position() as usize;
    let mut compressed = gzip.clone();
    compressed[at..at + 512].fill(0);
    compressed[at..at + 2].copy_from_slice(&[0x1f, 0x8b]);
    assert!(matches!(read(&compressed), Err(ImageError::Malformed(_))));
}

#[test]
fn links_duplicates_and_bad_names_are_reported_and_the_rest_is_read() {
    let entries: [Item<'_>; 7] = [
        ("opt/pht_results/", DIR, b""),
        ("opt/pht_results/a\u{1b}", FILE, b""),
        ("opt/pht_results/b", EntryType::Symlink, b""),
        ("opt/pht_results/c", EntryType::Link, b""),
        ("opt/pht_results/d", FILE, SEALED),
        ("opt/train_config.json", FILE, b"{}"),
        ("opt/train_config.json", FILE, b"[]"),
    ];
    let plain = read(&tar_of(&entries)).unwrap();
    let layered = read(&saved_of(&[&entries], true)).unwrap();
    for TrainFiles { found, .. } in [plain, layered] {
        for rule in [Rule::PlainNames, Rule::NoLinks, Rule::UniqueNames] {
            assert!(found.broken_by(rule).is_some(), "{}", rule.name());
        }
        assert_eq!(found.results.files().map(FilePath::as_str).collect::<Vec<_>>(), ["d"]);
    }
}

#[test]
fn a_link_in_the_place_of_opt_or_a_directory_hides_nothing() {
    let entries: [Item<'_>; 2] = [("opt/train_config.json", FILE, b"{}"), ("opt/pht_results", EntryType::Symlink, b"")];
    let TrainFiles { found, .. } = read(&tar_of(&entries)).unwrap();
    assert!(!found.results.is_there && found.broken_by(Rule::NoLinks).is_some());
    let hidden = saved_of(&[&entries[..1], &[("opt", EntryType::Symlink, b"")]], false);
    let TrainFiles { config, found, .. } = read(&hidden).unwrap();
    assert!(config.is_none() && found.broken_by(Rule::NoLinks).is_some());
}
