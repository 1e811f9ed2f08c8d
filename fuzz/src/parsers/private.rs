//! What no caller outside can reach: the image that is passed on.

use std::io::Read;

use stationmaster_image::fuzzing::copy_archive;

/// What is written has plain names in our folder only, and says nothing of which image it is.
pub fn pass_on(archive: &[u8]) {
    for layers in 0..3 {
        let mut out = Vec::new();
        let Some(places) = copy_archive(archive, layers, &mut out) else { continue };
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
