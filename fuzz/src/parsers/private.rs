//! What no caller outside can reach: the image that is passed on, and the requests' way to orders.

use std::io::Read;

use stationmaster::service::trains::order_for_fuzzing;
use stationmaster_image::pass_on_for_fuzzing;

use super::protobuf;

/// What is written has plain names in our folder only, and says nothing of which image it is.
pub fn pass_on(archive: &[u8]) {
    for layers in 0..3 {
        let mut out = Vec::new();
        let Some(places) = pass_on_for_fuzzing(archive, layers, &mut out) else { continue };
        assert_eq!(places.len(), layers);
        // Headers may grow by a long name each; the content is what came.
        assert!(out.len() <= 2 * archive.len() + 4096);
        let mut names = Vec::new();
        for entry in tar::Archive::new(&out[..]).entries().expect("ours") {
            let mut entry = entry.expect("what we write, we read");
            let name = String::from_utf8(entry.path_bytes().into_owned()).expect("plain");
            let below = name.strip_prefix("ours/").expect("in our folder").trim_end_matches('/');
            assert!(below.split('/').all(|part| !matches!(part, "" | "." | "..")));
            assert!(!["manifest.json", "repositories", "index.json", "oci-layout"].contains(&below));
            let size = entry.size();
            assert_eq!(entry.read_to_end(&mut Vec::new()).expect("whole") as u64, size);
            names.push(name);
        }
        assert!(places.iter().all(|place| names.contains(place)), "layers are where we say");
    }
}

/// A request is an order or a refusal.
pub fn requests(input: &[u8]) {
    protobuf::run(input);
    if let Some((which, bytes)) = input.split_first() {
        order_for_fuzzing(*which, bytes);
    }
}
