//! Inputs to start from: what honest writers make, and one of each known attack. Always the same bytes.

mod archives;
mod audit;
mod configs;
mod keys;

pub use archives::{config_files, opt_archives, saved_images};
pub use audit::{audit_logs, checkpoints};
pub use configs::configs;
#[cfg(feature = "fuzzing")]
pub use keys::oaep_blocks;
pub use keys::{envelopes, public_keys};

/// Lines of names.
pub fn names() -> Vec<Vec<u8>> {
    let deep = "d/".repeat(1000) + "f";
    let long = "n".repeat(256);
    let texts = [
        "main.py\nlib/table.csv\n./run.sh\nquery.json\nlib/ä\u{301}\nlib/\u{e4}",
        "../x\na/../../x\n/x\n\n.\n..\na/\na//b\na\\b\n.wh.x\na/.wh..wh..opq\n.wh.",
        "a\u{1b}[2J\na\u{202e}b\na\u{7f}\na\u{85}\na\tb",
        "a/x\na!\na.txt\na\na",
        &deep,
        &long,
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain([b"a\xff\nb\0c".to_vec()]).collect()
}

/// Image references.
pub fn references() -> Vec<Vec<u8>> {
    let id = "0123456789abcdef".repeat(4);
    let texts = [
        "train",
        "train:base",
        "harbor.example:5000/pht/train:latest",
        "localhost/a/b-c_d.e:1",
        "[::1]:5000/a:b",
        "A:b",
        "a b",
        "a:",
        ":b",
        "a@sha256:00",
        "../x",
        "-x",
        "x:y:z",
        "a//b",
        "a/./b",
        "a:b/c",
        "http://a/b",
    ];
    let long = format!("{}:{}", "r".repeat(255), "t".repeat(129));
    let ids = [id.clone(), format!("sha256:{id}"), format!("a@sha256:{id}"), format!("sha256:{}", &id[1..]), long];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(ids.map(String::into_bytes)).collect()
}

/// Requests, each behind its number.
pub fn protobufs() -> Vec<Vec<u8>> {
    use prost::Message;
    use stationmaster_proto as pb;
    let image = || "harbor.example/pht/train:1".to_owned();
    let mut found = vec![
        (0, pb::InspectTrainRequest { image: image() }.encode_to_vec()),
        (1, pb::PreRunRequest { image: image(), idempotency_key: "key".into(), into: 2 }.encode_to_vec()),
        (2, pb::PostRunRequest { run_id: "run".into(), image: image(), no_results: true }.encode_to_vec()),
        (3, pb::AbortRunRequest { run_id: "run".into() }.encode_to_vec()),
        (4, Vec::new()),
        (5, pb::GetKeyRequest { label: "key".into() }.encode_to_vec()),
        (6, pb::SignRequest { key_label: "key".into(), scheme: 1, digest: vec![7; 64], message: Vec::new() }.encode_to_vec()),
        (7, pb::UnwrapKeyRequest { key_label: "key".into(), scheme: 2, wrapped_key: vec![7; 256] }.encode_to_vec()),
        (8, pb::HashImageRequest { image: image(), train_only: true }.encode_to_vec()),
        (
            9,
            pb::OpenResultsRequest {
                part: Some(pb::open_results_request::Part::Image(image())),
                paths: vec!["a/**/*.cs?".into(), "b".into()],
            }
            .encode_to_vec(),
        ),
    ];
    // Lengths beyond the end and beyond 32 bits, groups that never end, a field number of 0, text that is no UTF-8.
    for bytes in [
        &b"\x0a\xff\xff\xff\xff\x0f"[..],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0b\x0b\x0b",
        b"\x02\x00",
        b"\x0a\x01\xff",
    ] {
        found.push((1, bytes.to_vec()));
    }
    found.push((2, vec![0x1b; 300]));
    found.into_iter().map(|(which, bytes)| [&[which][..], &bytes].concat()).collect()
}
