use super::*;

fn listing(names: &[&str]) -> Result<Listing, ListingError> {
    Listing::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

#[test]
fn names_that_leave_their_directory_are_refused() {
    for name in ["", "/", "/etc/passwd", "..", "../x", "a/../x", "a/..", ".", "./x", "a/./x", "a//x", "a/", "/a", "a\\b", "..\\x"]
    {
        assert_eq!(FilePath::new(name), Err(NameError::NotRelative), "{name:?}");
    }
}

#[test]
fn names_that_fool_readers_or_layers_are_refused() {
    for name in ["a\0", "a\nb", "\u{7f}", "a/\u{85}", "\u{1b}[2J", "a\u{202e}vsc.x", "a\u{2066}b", "a\u{2028}b"] {
        assert_eq!(FilePath::new(name), Err(NameError::ControlCharacter), "{name:?}");
    }
    for name in [".wh.a", ".wh.", "a/.wh..wh..opq"] {
        assert_eq!(FilePath::new(name), Err(NameError::Whiteout), "{name:?}");
    }
    assert_eq!(FilePath::from_bytes(b"a\xff"), Err(NameError::NotUtf8));
    assert!(FilePath::new("...").is_ok() && FilePath::new("a.wh.b").is_ok() && FilePath::new("a b/ü").is_ok());
}

#[test]
fn length_is_bounded() {
    assert!(FilePath::new(&"a".repeat(255)).is_ok());
    assert_eq!(FilePath::new(&"a".repeat(256)), Err(NameError::TooLong));
    assert_eq!(FilePath::new(&"a/".repeat(100)), Err(NameError::NotRelative));
    assert_eq!(FilePath::new(&format!("{}a", "a/".repeat(127))).map(|path| path.components().count()), Ok(128));
    assert_eq!(FilePath::new(&format!("{}a", "a/".repeat(128))), Err(NameError::TooLong));
    let long = "a".repeat(250);
    assert!(FilePath::new(&[long.as_str(); 16].join("/")).is_ok());
    assert_eq!(FilePath::new(&[long.as_str(); 17].join("/")), Err(NameError::TooLong));
}

#[test]
fn order_is_by_component_not_by_whole_string() {
    let mut names: Vec<FilePath> =
        ["b", "a.txt", "a-b", "a!", "a/x", "a/b/c", "a/b!", "A", "ä"].iter().map(|n| FilePath::new(n).unwrap()).collect();
    names.sort();
    let order: Vec<&str> = names.iter().map(FilePath::as_str).collect();
    assert_eq!(order, ["A", "a/b/c", "a/b!", "a/x", "a!", "a-b", "a.txt", "b", "ä"]);
}

#[test]
fn exactly_one_leading_dot_slash_is_no_part_of_a_listed_name() {
    assert_eq!(FilePath::listed("./x").unwrap().as_str(), "x");
    assert_eq!(FilePath::listed("x").unwrap().as_str(), "x");
    assert_eq!(FilePath::listed("././x"), Err(NameError::NotRelative));
    assert_eq!(FilePath::listed(".//x"), Err(NameError::NotRelative));
}

#[test]
fn a_repeated_name_counts_once_where_it_first_stands() {
    let listing = listing(&["b", "./a", "a", "./b", "sub/query.json"]).unwrap();
    let names: Vec<&str> = listing.names().iter().map(FilePath::as_str).collect();
    assert_eq!(names, ["b", "a", "sub/query.json"]);
    assert!(listing.contains(&FilePath::new("a").unwrap()) && !listing.contains(&FilePath::query()));
}

#[test]
fn the_query_is_never_listed() {
    for name in ["query.json", "./query.json"] {
        assert_eq!(listing(&["a", name]), Err(ListingError { position: 1, cause: NameError::Query }));
    }
}
