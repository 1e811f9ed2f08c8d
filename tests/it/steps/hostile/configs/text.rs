//! Configs that are hostile as texts: JSON, fields, hex.

use serde_json::{Value, json};

use super::{LIMIT, MALFORMED, ROUTE, Row, UNBELIEVED, changed, with_first};
use crate::{
    steps::hostile::case::{
        Expected,
        Expected::{Either, Rule, Taken},
    },
    support::tamper::stop,
};

/// Fields that must be there, as JSON pointers, and whether each is text or the like.
const REQUIRED: [(&str, bool); 21] = [
    ("/source", false),
    ("/source/type", true),
    ("/source/address", true),
    ("/creator", false),
    ("/creator/id", true),
    ("/creator/rsa_public_key", true),
    ("/proposal_id", true),
    ("/@id", true),
    ("/session_id", true),
    ("/route", false),
    ("/route/0", false),
    ("/route/0/station", true),
    ("/route/0/eco_system", true),
    ("/route/0/rsa_public_key", true),
    ("/route/0/index", true),
    ("/file_list", false),
    ("/hash", true),
    ("/signature", true),
    ("/build", false),
    ("/build/signature", true),
    ("/build/rsa_public_key", true),
];

/// Classes 1 to 22.
pub fn rows(honest: &Value) -> Vec<Row> {
    let text = honest.to_string();
    let bytes = |class, what: &str, bytes: Vec<u8>, expected| (class, what.to_owned(), bytes, expected);
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let mut rows: Vec<Row> =
        vec![bytes(1, "nothing", Vec::new(), MALFORMED), bytes(1, "white space", b" \n\t".to_vec(), MALFORMED)];
    for other in ["[]", "null", "true", "7", "\"text\"", "{}"] {
        rows.push(bytes(2, other, other.into(), MALFORMED));
    }
    rows.push(bytes(2, "a list with the config", format!("[{text}]").into(), MALFORMED));
    rows.extend([
        bytes(3, "a byte order mark", format!("\u{feff}{text}").into(), MALFORMED),
        bytes(4, "UTF-16, little end first", wide(u16::to_le_bytes), MALFORMED),
        bytes(4, "UTF-16, big end first", wide(u16::to_be_bytes), MALFORMED),
        bytes(4, "UTF-16 with its mark", [vec![0xff, 0xfe], wide(u16::to_le_bytes)].concat(), MALFORMED),
        bytes(4, "Latin-1", [&b"{\"\xe9\":0,"[..], &text.as_bytes()[1..]].concat(), MALFORMED),
    ]);
    for behind in ["x", "\0", ",", "}", "]", "//", "\u{feff}"] {
        rows.push(bytes(5, &format!("{behind:?} behind it"), format!("{text}{behind}").into(), MALFORMED));
    }
    for behind in [text.as_str(), "{}", "\nnull"] {
        rows.push(bytes(6, "a second document", format!("{text}{behind}").into(), MALFORMED));
    }
    rows.push(bytes(5, "white space behind it", format!("{text} \r\n\t").into(), Taken("it is no second meaning")));
    let nested = |depth: usize| with_first(honest, &format!("\"x\":{}0{}", "[".repeat(depth), "]".repeat(depth)));
    for depth in [64, 127, 128, 129, 100_000] {
        rows.push(bytes(7, &format!("{depth} deep"), nested(depth), LIMIT));
    }
    rows.push(bytes(7, "63 deep", nested(63), Taken("so deep is allowed, and what is there is dropped")));
    let spaces = |count: usize| with_first(honest, &format!("\"x\":{}0", " ".repeat(count)));
    rows.push(bytes(8, "10 MiB", spaces(10 << 20), LIMIT));
    rows.push(bytes(8, "10 MiB in one text", with_first(honest, &format!("\"x\":\"{}\"", "a".repeat(10 << 20))), LIMIT));
    let keys = |count: usize| with_first(honest, &(0..count).map(|at| format!("\"{at:x}\":0")).collect::<Vec<_>>().join(","));
    rows.push(bytes(9, "a million keys", keys(1_000_000), LIMIT));
    rows.push(bytes(9, "as many keys as fit into the bytes", keys(700_000), LIMIT));
    let many =
        |item: &str| with_first(honest, &format!("\"x\":[{item}{}]", format!(",{item}").repeat(8_000_000 / (item.len() + 1))));
    for item in ["0", "[]", "{}", "\"\"", "null", "1e1"] {
        rows.push(bytes(9, &format!("as many {item} as fit"), many(item), LIMIT));
    }
    for first in
        ["\"hash\":\"00\"", "\"@id\":\"x\"", "\"route\":[]", "\"x\":{\"a\":1,\"a\":1}", "\"x\":[{\"a\":{\"\":0,\"\":0}}]"]
    {
        rows.push(bytes(10, &format!("{first} besides"), with_first(honest, first), MALFORMED));
    }
    for first in ["\"h\\u0061sh\":\"00\"", "\"\\u0040id\":\"x\"", "\"x\":{\"a\":1,\"\\u0061\":1}"] {
        rows.push(bytes(11, &format!("{first} besides"), with_first(honest, first), MALFORMED));
    }
    for first in ["\"x\":{\"y\":[1,null]}", "\"_id\":\"x\"", "\"__proto__\":{\"admin\":true}"] {
        rows.push(bytes(12, &format!("{first} besides"), with_first(honest, first), Taken("what is not known is dropped")));
    }
    rows.extend(fields(honest));
    rows.extend(values(honest));
    rows
}

fn fields(honest: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for (pointer, is_scalar) in REQUIRED {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let missing = changed(honest, |config| match config.pointer_mut(parent).expect("a parent") {
            Value::Object(fields) => drop(fields.remove(name)),
            Value::Array(items) => items[0] = json!({}),
            other => panic!("{other}"),
        });
        let set = |value: Value| changed(honest, |config| *config.pointer_mut(pointer).expect("a field") = value);
        rows.push((13, format!("no {pointer}"), missing, MALFORMED));
        rows.push((14, format!("{pointer} is null"), set(Value::Null), MALFORMED));
        let wrong = if is_scalar { json!({ "a": [] }) } else { json!(7) };
        rows.push((15, format!("{pointer} is {wrong}"), set(wrong), MALFORMED));
    }
    let key = |value: Value| changed(honest, |config| stop(config, 0)["encrypted_key"] = value);
    rows.push((14, "our wrapped key is null".into(), key(Value::Null), ROUTE));
    rows.push((15, "our wrapped key is a number".into(), key(7.into()), MALFORMED));
    rows.push((
        15,
        "a name on the list is a list".into(),
        changed(honest, |config| config["file_list"][0] = json!([])),
        MALFORMED,
    ));
    rows.push((15, "@context is text".into(), changed(honest, |config| config["@context"] = "text".into()), MALFORMED));
    rows.push((
        15,
        "another kind of source".into(),
        changed(honest, |config| config["source"]["type"] = "svn".into()),
        MALFORMED,
    ));
    rows.push((
        15,
        "another eco system".into(),
        changed(honest, |config| stop(config, 0)["eco_system"] = "aac".into()),
        MALFORMED,
    ));
    rows
}

fn values(honest: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for number in ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "0x10", "01", "1_0", ".5"] {
        rows.push((16, number.to_owned(), with_first(honest, &format!("\"x\":{number}")), MALFORMED));
    }
    rows.push((17, "4,301 digits".into(), with_first(honest, &format!("\"x\":{}", "9".repeat(4301))), MALFORMED));
    for number in ["9007199254740993", "1000000000000000000000000000000"] {
        let config = honest.to_string().replacen(&format!("\"id\":{}", honest["creator"]["id"]), &format!("\"id\":{number}"), 1);
        rows.push((17, format!("creator {number}"), config.into(), UNBELIEVED));
    }
    let station = |class, id: Value| {
        (class, format!("station {id}"), changed(honest, |config| stop(config, 0)["station"] = id.clone()), ROUTE)
    };
    rows.extend([1.into(), "1".into(), true.into(), 1.5.into()].map(|id: Value| station(18, id)));
    let listed = |text: &str| with_first(honest, &format!("\"x\":{text}"));
    for text in ["\"\\ud800\"", "\"\\udc00\\ud800\"", "\"\\ud800\\u0061\"", "{\"\\udfff\":0}"] {
        rows.push((19, text.to_owned(), listed(text), MALFORMED));
    }
    rows.push((
        19,
        "a surrogate in UTF-8".into(),
        [&b"{\"x\":\"\xed\xa0\x80\","[..], &honest.to_string().as_bytes()[1..]].concat(),
        MALFORMED,
    ));
    rows.push((20, "a raw NUL".into(), listed("\"\0\""), MALFORMED));
    rows.push((20, "a raw newline in text".into(), listed("\"\n\""), MALFORMED));
    rows.push(station(20, "a\0".into()));
    let file = changed(honest, |config| config["file_list"].as_array_mut().unwrap().push("a\0b".into()));
    rows.push((20, "NUL on the list".into(), file, Rule("plain-names")));
    // Cyrillic, fullwidth, with a zero-width space, with a soft hyphen.
    rows.extend(["\u{430}", "\u{ff41}", "a\u{200b}", "\u{ad}a"].map(|id| station(21, id.into())));
    rows.extend([" a", "a ", "a\n", "\ta", "A", "a\u{a0}"].map(|id| station(22, id.into())));
    rows
}

/// Classes 23 to 27.
pub fn hex(honest: &Value) -> Vec<Row> {
    let spelled = |what: &str, spell: &dyn Fn(&str) -> String| {
        let set = |value: &mut Value| *value = spell(value.as_str().expect("hex")).into();
        let session = changed(honest, |config| set(&mut config["session_id"]));
        let hash = changed(honest, |config| set(&mut config["hash"]));
        let signature = changed(honest, |config| set(&mut config["signature"]));
        let build = changed(honest, |config| set(&mut config["build"]["signature"]));
        let key = changed(honest, |config| set(&mut stop(config, 0)["encrypted_key"]));
        let creator = changed(honest, |config| set(&mut config["creator"]["rsa_public_key"]));
        let names = ["session", "digest", "signature", "build signature", "wrapped key", "creator's key"];
        names
            .map(|name| format!("{name} {what}"))
            .into_iter()
            .zip([session, hash, signature, build, key, creator])
            .collect::<Vec<_>>()
    };
    let keys_first = Rule("route-keys-usable");
    let refused = [MALFORMED, UNBELIEVED, UNBELIEVED, UNBELIEVED, UNBELIEVED, keys_first];
    let mut rows = Vec::new();
    let mut add = |class, what: &str, expected: [Expected; 6], spell: &dyn Fn(&str) -> String| {
        rows.extend(
            spelled(what, spell).into_iter().zip(expected).map(|((what, config), expected)| (class, what, config, expected)),
        );
    };
    add(23, "with an odd digit", refused, &|hex| hex[1..].to_owned());
    add(24, "in upper case", [Taken("as the peers read it"); 6], &str::to_uppercase);
    add(25, "with white space between bytes", [Taken("as the peers read it"); 6], &|hex| {
        format!(" {} {}\n", &hex[..2], &hex[2..])
    });
    add(25, "with white space within a byte", refused, &|hex| format!("{} {}", &hex[..1], &hex[1..]));
    add(26, "with 0x", refused, &|hex| format!("0x{hex}"));
    let empty = [
        Either("TRAIN_AUTHENTICATION_FAILED", "IMAGE_POLICY_VIOLATION"),
        UNBELIEVED,
        UNBELIEVED,
        UNBELIEVED,
        UNBELIEVED,
        keys_first,
    ];
    add(27, "empty", empty, &|_| String::new());
    rows
}
