use serde_json::{Value, json};

use crate::{
    ImageError,
    archive::source::ImageInput,
    filesystem::tree_digest::digest_of,
    test_archives::{DIR, FILE, Item, tar_of},
};

fn hex(bytes: &[u8]) -> String {
    const_hex::encode(openssl::sha::sha256(bytes))
}

/// The files of an image, and its entries in `manifest.json` and an index.
struct Made {
    files: Vec<(String, Vec<u8>)>,
    docker: Value,
    oci: Value,
}

/// Returns an image of these layers with the files `as_stored` and the names `names`.
fn made(layers: &[Vec<u8>], as_stored: &[Vec<u8>], names: &[&str]) -> Made {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
    let config = json!({ "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids } }).to_string().into_bytes();
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", hex(bytes));
    let described = |bytes: &[u8]| json!({ "mediaType": "", "digest": format!("sha256:{}", hex(bytes)), "size": bytes.len() });
    let manifest = json!({ "schemaVersion": 2, "config": described(&config),
        "layers": as_stored.iter().map(|layer| described(layer)).collect::<Vec<_>>() });
    let manifest = manifest.to_string().into_bytes();
    let docker = json!({ "Config": blob(&config), "RepoTags": names,
        "Layers": as_stored.iter().map(|layer| blob(layer)).collect::<Vec<_>>() });
    let mut oci = described(&manifest);
    if let Some(name) = names.first() {
        let tag = name.rsplit(':').next().unwrap();
        let whole = format!("docker.io/library/{name}");
        oci["annotations"] = json!({ "org.opencontainers.image.ref.name": tag, "io.containerd.image.name": whole });
    }
    let files = as_stored.iter().chain([&config, &manifest]).map(|bytes| (blob(bytes), bytes.clone())).collect();
    Made { files, docker, oci }
}

/// Returns an archive of images in Docker's format, OCI's, or both.
fn archive(images: &[&Made], docker: bool, oci: bool) -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = images.iter().flat_map(|image| image.files.clone()).collect();
    if docker {
        let manifest: Vec<&Value> = images.iter().map(|image| &image.docker).collect();
        files.push(("manifest.json".into(), json!(manifest).to_string().into_bytes()));
    }
    if oci {
        let manifests: Vec<&Value> = images.iter().map(|image| &image.oci).collect();
        files.push(("index.json".into(), json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes()));
    }
    files.sort();
    files.dedup();
    let items: Vec<Item<'_>> = files.iter().map(|(name, bytes)| (name.as_str(), FILE, bytes.as_slice())).collect();
    tar_of(&items)
}

fn read(archive: &[u8], image: Option<&str>) -> Result<String, ImageError> {
    digest_of(ImageInput::archive(archive).choose(image), None, |_| {}).map(|(tree, _)| tree.digest.to_hex())
}

#[test]
fn a_layer_of_nothing_is_an_empty_layer() {
    let layer = tar_of(&[("a", FILE, b"1")]);
    let alone = std::slice::from_ref(&layer);
    let plain = read(&archive(&[&made(alone, alone, &[])], true, false), None).unwrap();
    let layers = [layer, Vec::new()];
    let with = made(&layers, &layers, &[]);
    for (docker, oci) in [(true, false), (false, true), (true, true)] {
        assert_eq!(read(&archive(&[&with], docker, oci), None).unwrap(), plain);
    }
    let old = [("0/layer.tar", FILE, &b""[..]), ("manifest.json", FILE, br#"[{"Config":"c","Layers":["0/layer.tar"]}]"#)];
    assert!(read(&tar_of(&old), None).is_ok(), "in the layout of old engines");
}

#[test]
fn a_layer_that_is_compressed_in_another_way_is_named_and_not_missed() {
    let layer = tar_of(&[("a", FILE, b"1")]);
    for (start, kind) in [(&b"\xfd7zXZ\0"[..], "xz"), (b"BZh91AY", "bzip2"), (b"\x04\x22\x4d\x18", "lz4")] {
        let stored = [start, &[7; 600]].concat();
        let image = made(std::slice::from_ref(&layer), &[stored], &[]);
        for (docker, oci) in [(true, false), (false, true)] {
            let error = read(&archive(&[&image], docker, oci), None).unwrap_err();
            assert!(
                matches!(error, ImageError::Foreign { kind: told, convert, .. } if told.contains(kind) && convert.contains("skopeo"))
            );
        }
    }
}

#[test]
fn of_several_images_each_is_listed_and_can_be_chosen() {
    let layer = |name| tar_of(&[(name, FILE, b"1")]);
    let (one, two) =
        (made(&[layer("a")], &[layer("a")], &["one:1", "also:x"]), made(&[layer("b")], &[layer("b")], &["two:latest"]));
    let alone = |image| read(&archive(&[image], true, true), None).unwrap();
    let id = |image: &Made| image.docker["Config"].as_str().unwrap().replace("blobs/sha256/", "sha256:");
    for (docker, oci) in [(true, false), (false, true), (true, true)] {
        let both = archive(&[&one, &two], docker, oci);
        let listed = |image| match read(&both, image) {
            Err(ImageError::NotOne { is_named, names }) => (is_named, names),
            other => panic!("{other:?}"),
        };
        for image in [None, Some("three:1")] {
            let (is_named, names) = listed(image);
            assert_eq!(is_named, image.is_some());
            assert!(names.contains("one:1") && names.contains("two:latest"), "{names}");
        }
        for name in ["two", "two:latest", "docker.io/library/two:latest"] {
            assert_eq!(read(&both, Some(name)).unwrap(), alone(&two), "{name}");
        }
        assert_eq!(read(&both, Some("one:1")).unwrap(), alone(&one));
        if docker {
            assert_eq!(read(&both, Some("also:x")).unwrap(), alone(&one), "its second name");
            assert_eq!(read(&both, Some(&id(&two))).unwrap(), alone(&two), "by its digest");
        }
    }
    // Docker and OCI's tools would select different images for this name.
    let mut swapped = made(&[layer("b")], &[layer("b")], &["two:latest"]);
    swapped.oci["annotations"]["io.containerd.image.name"] = json!("docker.io/library/one:1");
    assert!(matches!(read(&archive(&[&one, &swapped], true, true), Some("one:1")), Err(ImageError::Malformed(_))));
    // One image under two entries is one image.
    let mut twice = made(&[layer("a")], &[layer("a")], &["other:name"]);
    twice.files.clear();
    assert_eq!(read(&archive(&[&one, &twice], true, false), None).unwrap(), alone(&one));
}

#[test]
fn a_list_of_layers_that_is_null_is_an_empty_one_where_docker_reads_another() {
    let layer = tar_of(&[("a", FILE, b"1")]);
    let alone = std::slice::from_ref(&layer);
    let mut image = made(alone, alone, &["one:1"]);
    let digest = read(&archive(&[&image], true, true), None).unwrap();
    let manifest = image.files.iter().position(|(_, bytes)| bytes.starts_with(br#"{"config":{"digest"#)).unwrap();
    let mut oci: Value = serde_json::from_slice(&image.files[manifest].1).unwrap();
    oci["layers"] = Value::Null;
    let bytes = oci.to_string().into_bytes();
    image.oci["digest"] = json!(format!("sha256:{}", hex(&bytes)));
    image.files[manifest] = (format!("blobs/sha256/{}", hex(&bytes)), bytes);
    assert_eq!(read(&archive(&[&image], true, true), None).unwrap(), digest, "as engines wrote it for a while");
    assert!(read(&archive(&[&image], false, true), None).is_err(), "its layers are not those of its configuration");
}

#[test]
fn a_hard_link_to_what_a_lower_layer_brought_has_no_digest() {
    let link = |name: &str, target: &str| {
        let meta = crate::tar::entry::FileAttrs::immutable_file(1);
        crate::tar::header_writer::link_blocks(name, tar::EntryType::Link, meta, target.as_bytes())
    };
    let ended = |mut layer: Vec<u8>| {
        layer.resize(layer.len() + 1024, 0);
        layer
    };
    let file = |name| {
        let mut layer = tar_of(&[("app/", DIR, b""), (name, FILE, b"")]);
        layer.truncate(layer.len() - 1024);
        layer
    };
    let whole = |layers: &[Vec<u8>]| read(&archive(&[&made(layers, layers, &[])], true, false), None);
    assert!(whole(&[ended([file("app/bin"), link("app/link", "app/bin")].concat())]).is_ok(), "of its own layer's");
    let error = whole(&[ended(file("app/bin")), ended(link("app/link", "app/bin"))]).unwrap_err();
    assert!(error.to_string().contains("hard link to what its own layer"), "{error}");
    assert!(whole(&[ended([link("app/link", "app/bin"), file("app/bin")].concat())]).is_err(), "not by then");
}
