use stationmaster_train::envelope::{EnvelopeKey, Sealer};

use crate::{
    checks::push_scan::*,
    test_archives::{DIR, FILE, Item, saved, tar_of},
};

/// Returns rule and path of each suspect, by layer.
fn scanned(layers: &[&[Item<'_>]], base: usize) -> Vec<Vec<String>> {
    let layers: Vec<Vec<u8>> = layers.iter().map(|entries| tar_of(entries)).collect();
    let mut scans = scan_layers(ImageInput::archive(&saved(&layers, true)[..]), None, |_| {}, &|| Ok(())).unwrap();
    compare_with_base(&mut scans, base);
    let told = |suspect: &SuspectFile| format!("{} {}", suspect.rule.name(), String::from_utf8_lossy(&suspect.path));
    scans.iter().map(|scan| scan.suspects.iter().map(told).collect()).collect()
}

fn sealed(len: usize) -> Vec<u8> {
    let (key, mut out) = (EnvelopeKey::random().unwrap(), Vec::new());
    let mut sealer = Sealer::new(&key).unwrap();
    sealer.update(&vec![b'a'; len], &mut out).unwrap();
    sealer.finish(&mut out).unwrap();
    out
}

#[test]
fn what_a_sealed_train_consists_of_is_not_suspect() {
    let (code, result, key) = (sealed(3000), sealed(0), sealed(224));
    let layer: [Item<'_>; 7] = [
        ("opt/", DIR, b""),
        ("opt/pht_results/", DIR, b""),
        ("opt/pht_results/.wh..wh..opq", FILE, b""),
        ("opt/pht_results/a", FILE, &result),
        ("opt/pht_train/run", FILE, &code),
        ("opt/.wh.gone", FILE, b""),
        ("opt/user_sym_key.key", FILE, &key),
    ];
    assert_eq!(scanned(&[&layer], 0), [[""; 0]]);
}

#[test]
fn content_that_no_layer_may_have_is_reported_also_where_a_later_one_hides_it() {
    let plain: [Item<'_>; 7] = [
        ("opt/pht_results/a", FILE, b"age,count\n"),
        ("./opt//pht_results/b", FILE, b"age,count\n"),
        ("opt/pht_results/c", EntryType::Link, b""),
        ("opt/pht_train", EntryType::Symlink, b""),
        ("opt/pht_results/.wh.d", FILE, b"PLAINTEXT"),
        ("opt/train_config.json", FILE, b"{\"a\":1}"),
        ("opt/user_sym_key.key", FILE, &[b'a'; 256]),
    ];
    let hides: [Item<'_>; 1] = [(".wh.opt", FILE, b"")];
    let found = scanned(&[&plain, &hides], 0);
    let expected = [
        "no-plaintext-layers opt/pht_results/a",
        "no-plaintext-layers opt/pht_results/b",
        "no-links-or-special-files opt/pht_results/c",
        "no-links-or-special-files opt/pht_train",
        "no-plaintext-layers opt/pht_results/.wh.d",
        "no-plaintext-layers opt/train_config.json",
        "no-plaintext-layers opt/user_sym_key.key",
    ];
    assert_eq!(found, [expected.map(str::to_owned).to_vec(), vec![]]);
}

#[test]
fn content_that_only_the_base_may_have_is_reported_above_it() {
    let base: [Item<'_>; 3] = [("opt/tool", FILE, b"tool"), ("opt/pht_tool", FILE, b""), ("etc/passwd", FILE, b"x")];
    let same: [Item<'_>; 3] = [("opt/tool", FILE, b"tool"), ("opt/own/", DIR, b""), ("etc/empty", FILE, b"")];
    let other: [Item<'_>; 4] =
        [("opt/tool", FILE, b"tooI"), ("opt/pht_tool", FILE, b"x"), ("opt/own/x", FILE, b""), ("tmp/result", FILE, b"x")];
    let told =
        ["opt-allow-list opt/own/x", "opt-allow-list opt/pht_tool", "opt-allow-list opt/tool", "no-plaintext-layers tmp/result"];
    assert_eq!(scanned(&[&base, &same, &other], 1), [vec![], vec![], told.map(str::to_owned).to_vec()]);
}

#[test]
fn many_suspects_are_counted_and_some_are_kept() {
    let names: Vec<String> = (0..1500).map(|at| format!("opt/pht_results/{at}")).collect();
    let entries: Vec<Item<'_>> = names.iter().map(|name| (name.as_str(), FILE, &b"plain"[..])).collect();
    let scans = scan_layers(ImageInput::archive(&saved(&[tar_of(&entries)], true)[..]), None, |_| {}, &|| Ok(())).unwrap();
    assert_eq!((scans[0].suspects.len(), scans[0].suspect_count), (1000, 1500));
}

#[test]
fn something_behind_the_end_of_a_layer_is_refused() {
    let mut layer = tar_of(&[("opt/pht_results/", DIR, b"")]);
    layer.extend(b"PLAINTEXT".repeat(100));
    layer.resize(layer.len().next_multiple_of(512), 0);
    assert!(matches!(
        scan_layers(ImageInput::archive(&saved(&[layer], true)[..]), None, |_| {}, &|| Ok(())),
        Err(ImageError::Malformed(_))
    ));
}
