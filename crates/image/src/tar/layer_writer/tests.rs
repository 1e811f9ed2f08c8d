use std::io::Read;

use crate::tar::layer_writer::*;

#[test]
fn the_planned_length_is_the_written_length_and_any_reader_reads_it() {
    let long = format!("opt/pht_results/{}", "d/".repeat(60) + "file");
    let exact = format!("opt/{}", "x".repeat(96));
    let mut plan = LayerPlan::default();
    plan.directory("opt/pht_results", FileAttrs::directory(5), true);
    plan.directory(&long[..long.len() - 5], FileAttrs { mode: 0o700, uid: 1000, gid: 3_000_000, mtime: 7 }, true);
    for (path, size) in [(long.as_str(), 513u64), (exact.as_str(), 512), ("opt/empty", 0)] {
        plan.file(path, FileAttrs::immutable_file(9), size, size);
    }
    let mut out = Vec::new();
    let mut hashing = HashingWriter::new(&mut out);
    write_archive(&mut hashing, &plan, |size: &u64, each| each(&vec![b'z'; *size as usize]) as Result<(), ImageError>).unwrap();
    let digest = hashing.finish();
    assert_eq!(out.len() as u64, plan.len());
    assert_eq!(digest, Sha256Digest::of(&out));
    let mut names = Vec::new();
    for entry in tar::Archive::new(&out[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        names.push((String::from_utf8(entry.path_bytes().into_owned()).unwrap(), content.len()));
    }
    assert!(names.contains(&("opt/pht_results/.wh..wh..opq".into(), 0)));
    assert!(names.contains(&(long, 513)) && names.contains(&(exact, 512)));
    assert_eq!(names.len(), 7);
}

#[test]
fn content_of_another_length_than_planned_is_an_error() {
    let entry = LayerEntry::File { path: "a".into(), meta: FileAttrs::immutable_file(0), size: 3, content: () };
    let mut out = Vec::new();
    let mut writer = LayerWriter::new(&mut out);
    writer.begin(&entry).unwrap();
    writer.content(b"ab").unwrap();
    assert!(writer.finish().is_err());
    let mut writer = LayerWriter::new(&mut out);
    writer.begin(&entry).unwrap();
    assert!(writer.content(b"abcd").is_err());
}
