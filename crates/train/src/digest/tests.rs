use super::*;
use crate::{
    names::{FilePath, Listing},
    vectors::{bytes, items, text, vector},
};

#[test]
fn only_64_bytes_are_a_digest() {
    assert_eq!(Digest::from_bytes(&[0; 63]), Err(NotADigest));
    assert_eq!(Digest::from_hex(&HexText::new("zz")), Err(NotADigest));
    let digest = Digest::of(b"x");
    assert_eq!(Digest::from_hex(&HexText::new(digest.to_string().to_uppercase())), Ok(digest));
    assert_ne!(digest, Digest::of(b"y"));
}

#[test]
fn immutable_files_hash_as_train_lib_hashes_them() {
    let vectors = vector!("digests");
    for case in items(&vectors["immutable"]) {
        let creator = match &case["creator"] {
            serde_json::Value::String(id) => Id::from_text(id.clone()),
            number => Id::Int(number.as_i64().unwrap().into()),
        };
        let names: Vec<String> = items(&case["file_list"]).iter().map(|name| text(name).to_owned()).collect();
        let content = |path: &FilePath| {
            let mut files = items(&case["files"]).iter();
            files.find(|file| text(&file[0]) == path.as_str()).map(|file| bytes(&file[1]))
        };
        let ours = Listing::new(&names).ok().and_then(|listing| {
            let mut hasher = ImmutableHasher::new(&creator);
            for name in listing.names() {
                hasher.update(&content(name)?);
            }
            let query = (!case["query"].is_null()).then(|| bytes(&case["query"]));
            Some(hasher.finish(&bytes(&vectors["session_id"]), query.as_deref()).to_string())
        });
        assert_eq!(ours.as_deref(), case["digest"].as_str(), "{}", case["name"]);
    }
}

#[test]
fn results_hash_as_train_lib_hashes_them() {
    let vectors = vector!("digests");
    for case in items(&vectors["results"]) {
        let mut hasher = ResultHasher::new();
        items(&case["contents"]).iter().for_each(|content| hasher.update(&bytes(content)));
        assert_eq!(hasher.finish(&bytes(&vectors["session_id"])).to_string(), text(&case["digest"]));
    }
}

#[test]
fn chunks_do_not_matter() {
    let id = Id::from_text("u".to_owned());
    let mut hasher = ImmutableHasher::new(&id);
    b"some content".iter().for_each(|byte| hasher.update(&[*byte]));
    assert_eq!(hasher.finish(b"s", Some(b"q")), Digest::of(b"usome contentsq"));
    let mut hasher = FileHasher::new();
    hasher.update(b"ab");
    hasher.update(b"c");
    assert_eq!(hasher.finish(), Sha256Digest::of(b"abc"));
}

#[test]
fn an_empty_query_changes_nothing() {
    let hasher = || ImmutableHasher::new(&Id::from_text("u".to_owned()));
    assert_eq!(hasher().finish(b"s", Some(b"")), hasher().finish(b"s", None));
}

#[test]
fn only_the_first_link_holds_the_session_id() {
    let (first, results) = (Digest::of(b"first"), Digest::of(b"results"));
    let two = |a: &[u8], b: &[u8]| Digest::of(&[a, b].concat());
    assert_eq!(chain_digest(b"session", &[], &results), two(b"session", results.as_bytes()));
    assert_eq!(chain_digest(b"session", &[first], &results), two(first.as_bytes(), results.as_bytes()));
}
