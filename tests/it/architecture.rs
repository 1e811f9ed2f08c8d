//! The house keeps its own law: imports point down, each outside library has one room, every word of the API is explained.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The law of `src/lib.rs`: a room and all that it may name. What is not in the list may name nothing.
const LAW: [(&str, &[&str]); 22] = [
    ("train", &[]),
    ("pb", &[]),
    ("memory", &[]),
    ("keystore", &["files", "train", "memory"]),
    ("failpoint", &[]),
    ("files", &[]),
    ("image", &["failpoint", "files", "train"]),
    ("ledger", &["files", "train"]),
    ("trust", &["files", "watched_file", "train"]),
    ("watched_file", &["files"]),
    ("key_file", &[]),
    ("authz", &["files", "keystore", "watched_file"]),
    ("audit", &["files", "train"]),
    ("state", &["audit", "files", "ledger"]),
    ("protocol", &["authz", "audit", "failpoint", "keystore", "image", "ledger", "trust", "train"]),
    ("service", &["authz", "audit", "protocol", "keystore", "image", "ledger", "trust", "train", "pb"]),
    ("config", &["audit", "files", "keystore", "trust", "train"]),
    (
        "server",
        &[
            "authz", "audit", "files", "key_file", "service", "protocol", "state", "keystore", "image", "ledger", "trust",
            "train", "config", "pb",
        ],
    ),
    (
        "dev",
        &["authz", "audit", "files", "server", "service", "protocol", "keystore", "image", "ledger", "trust", "train", "config"],
    ),
    (
        "cli",
        &[
            "authz",
            "audit",
            "files",
            "watched_file",
            "key_file",
            "dev",
            "demo",
            "server",
            "service",
            "protocol",
            "state",
            "keystore",
            "image",
            "ledger",
            "trust",
            "train",
            "memory",
            "config",
            "pb",
        ],
    ),
    (
        "demo",
        &[
            "audit", "dev", "cli", "server", "service", "protocol", "keystore", "image", "ledger", "trust", "train", "config",
            "pb",
        ],
    ),
    ("main", &["cli", "memory"]),
];

/// Outside libraries that one part of the house alone may name.
const LIBRARIES: [(&str, &[&str]); 3] =
    [("cryptoki", &["keystore/pkcs11"]), ("bollard", &["image/store/docker", "demo"]), ("sqlx", &["ledger"])];

/// Every source file: its path below `src` without `.rs`, and its text without comments.
fn sources() -> BTreeMap<String, String> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(SOURCES), &mut found);
    let read = |path: PathBuf| {
        let place = path.strip_prefix(SOURCES).expect("below src").with_extension("").to_string_lossy().into_owned();
        (place, without_comments(&fs::read_to_string(path).expect("a source file")))
    };
    found.into_iter().map(read).collect()
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// What follows each `word` that stands alone: not part of a longer word, and not behind `$` or `in ` (macros, visibility).
fn after<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(word).filter_map(move |(start, _)| {
        let (before, rest) = (&text[..start], &text[start + word.len()..]);
        let alone = !before.ends_with(|last: char| is_word(last) || last == '$') && !before.ends_with("in ");
        alone.then_some(rest)
    })
}

/// The rooms that a text names: the first segments of `crate::a::b` and of `crate::{a::b, c::{d, e}}`.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    let mut name = |text: &str| {
        let room: String = text.trim_start().chars().take_while(|character| is_word(*character)).collect();
        if !room.is_empty() {
            rooms.insert(room);
        }
    };
    for rest in after(text, "crate::") {
        let Some(list) = rest.strip_prefix('{') else {
            name(rest);
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (index, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    name(&list[start..index]);
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    name(&list[start..index]);
                    start = index + 1;
                }
                _ => {}
            }
        }
    }
    rooms
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let text = "use crate::{\n    a::{b, c},\n    d, e::f,\n};\nlet x = crate::g::h(); // crate::no\nuse crate::i;\npub(in crate::j) $crate::k mycrate::l";
    let expected = ["a", "d", "e", "g", "i"].map(str::to_owned);
    assert_eq!(rooms_named(&without_comments(text)), expected.into());
}

#[test]
fn imports_point_down_only() {
    let law: BTreeMap<_, _> = LAW.into();
    let (mut upward, mut arrows) = (Vec::new(), 0);
    for (place, text) in sources() {
        let room = place.split('/').next().expect("a room");
        if place == "lib" {
            continue;
        }
        let allowed = law.get(room).unwrap_or_else(|| panic!("src/{place}.rs: the law knows no room `{room}`"));
        let mut named = rooms_named(&text);
        // In a room's own file, `super` is the whole house.
        if !place.contains('/') {
            named.extend(text.lines().filter_map(|line| line.strip_prefix("use super::")).map(str::to_owned));
        }
        named.remove(room);
        arrows += named.len();
        upward.extend(
            named.iter().filter(|other| !allowed.contains(&other.as_str())).map(|other| format!("src/{place}.rs names {other}")),
        );
    }
    assert!(arrows > 50, "only {arrows} imports were seen");
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn each_outside_library_has_one_room() {
    let mut strangers = Vec::new();
    for (place, text) in sources() {
        for (library, rooms) in LIBRARIES {
            let at_home = rooms.iter().any(|room| place == *room || place.starts_with(&format!("{room}/")));
            let named = after(&text, library).any(|rest| rest.starts_with("::") || rest.starts_with(';'));
            if named && !at_home {
                strangers.push(format!("src/{place}.rs names {library}"));
            }
        }
        // Generated code implements the servers that return it.
        let of_status = place == "service/status" || place.starts_with("service/status/") || place.starts_with("pb/generated/");
        if !of_status && after(&text, "Status").any(|rest| !rest.starts_with(is_word)) {
            strangers.push(format!("src/{place}.rs names the wire's Status"));
        }
    }
    assert!(strangers.is_empty(), "{}", strangers.join("\n"));
}

type Declared = (String, Vec<i32>);

fn below(path: &[i32], kind: i32, index: usize) -> Vec<i32> {
    [path, &[kind, i32::try_from(index).expect("few enough")]].concat()
}

/// What a proto file declares: its name, and its path in the descriptor.
fn declared(file: &FileDescriptorProto) -> Vec<Declared> {
    let mut all = Vec::new();
    for (index, one) in file.message_type.iter().enumerate() {
        declared_by_message(one, one.name(), &below(&[], 4, index), &mut all);
    }
    for (index, one) in file.enum_type.iter().enumerate() {
        declared_by_enum(one, one.name(), &below(&[], 5, index), &mut all);
    }
    for (index, service) in file.service.iter().enumerate() {
        let path = below(&[], 6, index);
        for (index, method) in service.method.iter().enumerate() {
            all.push((format!("{}.{}", service.name(), method.name()), below(&path, 2, index)));
        }
        all.push((service.name().to_owned(), path));
    }
    all
}

fn declared_by_message(message: &DescriptorProto, name: &str, path: &[i32], all: &mut Vec<Declared>) {
    all.push((name.to_owned(), path.to_vec()));
    for (index, field) in message.field.iter().enumerate() {
        all.push((format!("{name}.{}", field.name()), below(path, 2, index)));
    }
    for (index, oneof) in message.oneof_decl.iter().enumerate() {
        // `optional` makes a oneof of its own, which nobody wrote.
        if !oneof.name().starts_with('_') {
            all.push((format!("{name}.{}", oneof.name()), below(path, 8, index)));
        }
    }
    for (index, nested) in message.nested_type.iter().enumerate() {
        if !nested.options.as_ref().is_some_and(|options| options.map_entry()) {
            declared_by_message(nested, &format!("{name}.{}", nested.name()), &below(path, 3, index), all);
        }
    }
    for (index, one) in message.enum_type.iter().enumerate() {
        declared_by_enum(one, &format!("{name}.{}", one.name()), &below(path, 4, index), all);
    }
}

fn declared_by_enum(one: &EnumDescriptorProto, name: &str, path: &[i32], all: &mut Vec<Declared>) {
    all.push((name.to_owned(), path.to_vec()));
    for (index, value) in one.value.iter().enumerate() {
        all.push((format!("{name}.{}", value.name()), below(path, 2, index)));
    }
}

#[test]
fn every_word_of_the_api_has_a_comment() {
    let set = FileDescriptorSet::decode(stationmaster::pb::DESCRIPTORS).expect("descriptors");
    let (mut bare, mut seen) = (Vec::new(), 0);
    for file in set.file.iter().filter(|file| file.package() == "stationmaster.v1") {
        let info = file.source_code_info.as_ref().expect("source information");
        let explained: BTreeSet<&[i32]> =
            info.location.iter().filter(|one| !one.leading_comments().trim().is_empty()).map(|one| one.path.as_slice()).collect();
        let declared = declared(file);
        seen += declared.len();
        bare.extend(
            declared
                .into_iter()
                .filter(|(_, path)| !explained.contains(path.as_slice()))
                .map(|(name, _)| format!("{}: {name}", file.name())),
        );
    }
    assert!(seen > 150, "only {seen} declarations were seen");
    assert!(bare.is_empty(), "without a comment:\n{}", bare.join("\n"));
}
