use std::collections::BTreeMap;

use tar::Header;

use crate::{oci::digest::BLOBS, store::docker::full_load::*};

const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// A configuration.
const CONFIG: &[u8] = br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#;
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

fn of(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::of(bytes)
}

/// Returns an archive as an engine might save it; a link's content is its target.
fn tar_of(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let is_link = *kind == EntryType::Symlink;
        if is_link {
            header.set_link_name_literal(content).unwrap();
        }
        let content = if is_link { &[][..] } else { content };
        header.set_size(content.len() as u64);
        // Written unchecked, so that bad names can be tested; a long one as a PAX record.
        if name.len() > 100 {
            archive.append_pax_extensions([("path", name.as_bytes())]).unwrap();
        }
        let field = &mut header.as_old_mut().name;
        let len = name.len().min(field.len());
        field[..len].copy_from_slice(&name.as_bytes()[..len]);
        header.set_cksum();
        archive.append(&header, content).unwrap();
    }
    archive.into_inner().unwrap()
}

fn manifest_of(config: &str, layers: &[&str]) -> Vec<u8> {
    json!([{ "Config": config, "RepoTags": ["a:b"], "Layers": layers }]).to_string().into_bytes()
}

fn parent(id: &str, layers: usize) -> ImageMetadata {
    ImageMetadata {
        id: format!("sha256:{id}").parse().unwrap(),
        layers: (0..layers).map(|i| format!("sha256:{i}")).collect(),
        config: Default::default(),
        platform: Default::default(),
        size: 0,
        history: Vec::new(),
    }
}

fn pass(archive: &[u8], parent: &ImageMetadata) -> Result<(Copied, Vec<u8>), ImageError> {
    let mut out = Vec::new();
    copy_archive(archive, parent, "ours", &mut out).map(|passed| (passed, out))
}

/// Returns type and content or target, by name.
fn read(archive: &[u8]) -> BTreeMap<String, (EntryType, Vec<u8>)> {
    let (mut entries, mut found) = (TarReader::of_layer(archive), BTreeMap::new());
    while let Some(entry) = entries.next().unwrap() {
        let mut content = entry.link;
        entries.read_to_end(&mut content).unwrap();
        found.insert(String::from_utf8(entry.path).unwrap(), (entry.kind, content));
    }
    found
}

const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;

#[test]
fn everything_but_what_names_the_image_is_passed_on() {
    let long = format!("{}/layer.tar", "d".repeat(120));
    let id = of(CONFIG).to_hex();
    let config = format!("{id}.json");
    let link = format!("{OTHER}/layer.tar");
    let manifest = manifest_of(&config, &[&long, &link]);
    let large = vec![7; 3 * BUFFER + 1];
    let saved = tar_of(&[
        (&config, FILE, CONFIG),
        ("x/", EntryType::Directory, b""),
        (&long, FILE, &large),
        (&link, LINK, b"../x/layer.tar"),
        ("oci-layout", FILE, b"{}"),
        ("repositories", FILE, b"{}"),
        ("manifest.json", FILE, &manifest),
    ]);
    let (passed, out) = pass(&saved, &parent(&id, 2)).unwrap();
    let ours = |name: &str| format!("ours/{name}");
    assert_eq!(passed.layers, [ours(&long), ours(&link)]);
    assert!(passed.oci((of(b"c"), 1), (of(b"l"), 2)).is_none(), "this image is known by its configuration");
    let read = read(&out);
    assert_eq!(read.keys().collect::<Vec<_>>(), [&ours(&config), &ours(&long), &ours(&link), "ours/x/"]);
    assert_eq!((&read[&ours(&long)].1, &read[&ours(&link)]), (&large, &(LINK, b"../x/layer.tar".to_vec())));
}

#[test]
fn an_image_known_by_its_manifest_gets_one_of_ours() {
    let (config, zipped, plain) =
        (digest::file_name(&of(CONFIG)), format!("{BLOBS}{DIGEST}"), format!("{BLOBS}{}", "a".repeat(64)));
    let id = "b".repeat(64);
    let manifest = manifest_of(&config, &[&zipped, &plain]);
    let saved = tar_of(&[
        (&format!("{BLOBS}{id}"), FILE, b"{}"),
        (&config, FILE, CONFIG),
        (&zipped, FILE, b"\x1f\x8b\x08\x00\x00"),
        (&plain, FILE, b"tar"),
        ("manifest.json", FILE, &manifest),
    ]);
    let (passed, _) = pass(&saved, &parent(&id, 2)).unwrap();
    let oci = passed.oci((of(b"c"), 11), (of(b"l"), 22)).expect("it is known by its manifest");
    assert_eq!(oci.id, of(&oci.manifest).into());
    let manifest: Value = serde_json::from_slice(&oci.manifest).unwrap();
    assert_eq!(manifest["config"]["digest"], of(b"c").to_string());
    let layer = |kind: &str, digest: &str, size: u64| json!({ "mediaType": kind, "digest": digest, "size": size });
    let (tar, gzip) = ("application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip");
    let layers = [
        layer(gzip, &format!("sha256:{DIGEST}"), 5),
        layer(tar, &format!("sha256:{}", "a".repeat(64)), 3),
        layer(tar, &of(b"l").to_string(), 22),
    ];
    assert_eq!(manifest["layers"], json!(layers));
    let index: Value = serde_json::from_slice(&oci.index).unwrap();
    assert_eq!(
        (&index["manifests"][0]["digest"], &index["manifests"][0]["size"]),
        (&json!(oci.id.to_string()), &json!(oci.manifest.len()))
    );
}

#[test]
fn an_archive_that_is_not_one_images_is_refused() {
    let layer = "x/layer.tar";
    let config = format!("{DIGEST}.json");
    let manifest = manifest_of(&config, &[layer]);
    let whole = |name: &str, kind: EntryType, content: &[u8]| {
        tar_of(&[(layer, FILE, b"1"), (name, kind, content), ("manifest.json", FILE, &manifest)])
    };
    let parent = parent(DIGEST, 1);
    assert!(pass(&whole("y", FILE, b""), &parent).is_ok());
    let long = "n".repeat(NAME_LIMIT + 1);
    let bad = [
        ("an absolute name", whole("/etc/x", FILE, b"")),
        ("a climbing name", whole("a/../../x", FILE, b"")),
        ("a name twice", whole(layer, FILE, b"")),
        ("a name too long", whole(&long, FILE, b"")),
        ("a name that is not text", whole("a\nb", FILE, b"")),
        ("an absolute link", whole("y", LINK, b"/etc/x")),
        ("a link that climbs out", whole("y/z", LINK, b"../../x")),
        ("a device", whole("y", EntryType::Char, b"")),
        ("a hard link", whole("y", EntryType::Link, b"")),
        ("no manifest", tar_of(&[(layer, FILE, b"1")])),
        ("a manifest that is none", tar_of(&[(layer, FILE, b"1"), ("manifest.json", FILE, b"{}")])),
        (
            "a manifest twice",
            tar_of(&[(layer, FILE, b"1"), ("manifest.json", FILE, &manifest), ("manifest.json", FILE, &manifest)]),
        ),
        ("a manifest with a field twice", {
            let manifest = format!(r#"[{{"Config":"{config}","Layers":["y"],"Layers":["{layer}"]}}]"#);
            tar_of(&[(layer, FILE, b"1"), ("manifest.json", FILE, manifest.as_bytes())])
        }),
        ("a manifest with a field in another spelling", {
            let manifest = format!(r#"[{{"Config":"{config}","Layers":["{layer}"],"layers":["y"]}}]"#);
            tar_of(&[(layer, FILE, b"1"), ("manifest.json", FILE, manifest.as_bytes())])
        }),
        ("a configuration with another digest than its name's", whole(&config, FILE, CONFIG)),
        ("an index of another image", whole("index.json", FILE, br#"{"manifests":[]}"#)),
        ("a layer that is missing", tar_of(&[("manifest.json", FILE, &manifest)])),
        (
            "a layer that is a directory",
            tar_of(&[("x/layer.tar/", EntryType::Directory, b""), ("manifest.json", FILE, &manifest)]),
        ),
        ("a layer too many", {
            let manifest = manifest_of(&config, &[layer, layer]);
            tar_of(&[(layer, FILE, b"1"), ("manifest.json", FILE, &manifest)])
        }),
        ("a short archive", whole("y", FILE, b"")[..1200].to_vec()),
        ("an end in the middle", tar_of(&[(layer, FILE, &[1; 5000])])[..2048].to_vec()),
    ];
    for (what, archive) in bad {
        assert!(matches!(pass(&archive, &parent), Err(ImageError::Malformed(_))), "{what}");
    }
}
