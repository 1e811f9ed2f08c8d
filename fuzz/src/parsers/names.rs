//! Names of files and of images.

use stationmaster_image::oci::reference::{ImageName, ImageSource};
use stationmaster_train::names::{FilePath, Listing};

/// One name a line. What is let through is plain, and its order is the engine's.
pub fn paths(bytes: &[u8]) {
    let mut accepted = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(path) = FilePath::from_bytes(line) {
            assert_eq!(path.as_str().as_bytes(), line, "nothing is changed");
            accepted.push(path);
        }
    }
    for path in &accepted {
        let text = path.as_str();
        assert!(text.len() <= 4096 && !text.starts_with('/') && !text.ends_with('/'));
        assert!(!text.bytes().any(|byte| byte < 0x20 || byte == 0x7f), "no control characters");
        for component in text.split('/') {
            assert!(!component.is_empty() && component.len() <= 255 && component != "." && component != "..");
            assert!(!component.starts_with(".wh."));
        }
        // What a file system makes of it stays below the directory.
        let joined = std::path::Path::new("/opt/pht_train").join(text);
        assert!(joined.starts_with("/opt/pht_train") && joined.components().count() == 3 + text.split('/').count());
    }
    for pair in accepted.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        assert_eq!(a.cmp(b), b.cmp(a).reverse());
        assert_eq!(a == b, a.cmp(b).is_eq());
        // A NUL is below every character a name can have.
        let flat = |path: &FilePath| path.as_str().replace('/', "\0");
        assert_eq!(a.cmp(b), flat(a).cmp(&flat(b)), "component by component");
    }
    let text = String::from_utf8_lossy(bytes);
    let list: Vec<String> = text.split('\n').map(str::to_owned).collect();
    if let Ok(listing) = Listing::new(&list) {
        assert!(listing.names().iter().all(|name| !name.is_query() && listing.contains(name)));
    }
}

/// What is let through is written as it is read, and can be written to.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(source) = text.parse::<ImageSource>() {
        assert_eq!(source.to_string().parse::<ImageSource>().expect("reads back"), source);
    }
    let Ok(name) = text.parse::<ImageName>() else { return };
    assert_eq!(name.to_string().parse::<ImageName>().expect("reads back"), name);
    let tag = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    assert!(!name.tag().is_empty() && name.tag().len() <= 128 && name.tag().bytes().all(tag), "a plain tag");
    let repository = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/:[]".contains(&byte);
    assert!(!name.repository().is_empty() && name.repository().bytes().all(repository), "a plain repository");
    assert!(!name.repository().split('/').any(|part| matches!(part, "" | "." | "..")));
    let private = name.with_tag("stationmaster");
    assert_eq!(private.repository(), name.repository());
    assert!(text.len() <= 644 && name.to_string().starts_with(text), "as it was written, with a tag");
}
