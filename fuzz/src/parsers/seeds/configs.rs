//! Configs: train_lib's own, and hostile ones.

use serde_json::Value;

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).expect("the repository's vectors are JSON")
}

/// Whole configs.
pub fn configs() -> Vec<Vec<u8>> {
    let train = vectors(include_str!("../../../../tests/vectors/train.json"));
    let steps = train["steps"].as_array().expect("steps").iter();
    let mut found: Vec<String> =
        steps.flat_map(|step| [&step["config"], &step["next_config"]]).filter_map(Value::as_str).map(str::to_owned).collect();
    let layouts = vectors(include_str!("../../../../tests/vectors/config-layouts.json"));
    let layouts = layouts.as_array().expect("layouts").iter();
    found.extend(layouts.filter_map(|case| case["input"].as_str()).map(str::to_owned));
    found.extend(quirks());
    found.extend(hostile());
    found.into_iter().map(String::into_bytes).chain(not_utf8()).filter(|text| text.len() <= 16 * 1024).collect()
}

fn with(field: &str, raw: &str) -> String {
    let vectors = vectors(include_str!("../../../../tests/vectors/config-quirks.json"));
    filled(&vectors, field, raw)
}

fn filled(vectors: &Value, field: &str, raw: &str) -> String {
    let mut text = vectors["template"].as_str().expect("a template").to_owned();
    for (name, value) in vectors["defaults"].as_object().expect("defaults") {
        let value = if name == field { raw } else { value.as_str().expect("text") };
        text = text.replace(&format!("@{name}@"), value);
    }
    text
}

/// Every tenth of the spellings that train_lib was asked about: a seed is a start, and the whole list is a unit test's.
fn quirks() -> Vec<String> {
    let vectors = vectors(include_str!("../../../../tests/vectors/config-quirks.json"));
    let cases = vectors["cases"].as_array().expect("cases").iter().step_by(10);
    cases.map(|case| filled(&vectors, case["field"].as_str().expect("text"), case["raw"].as_str().expect("text"))).collect()
}

fn hostile() -> Vec<String> {
    let mut found: Vec<String> = [
        "",
        " ",
        "[]",
        "{}",
        "null",
        "\u{feff}{}",
        "{} x",
        "{}{}",
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"\\u0061\":1}",
        "1e400",
        "-1e-400",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"\\u0000\"",
        "NaN",
        "-Infinity",
        "[1,]",
        "9007199254740993",
        "-0",
        "-0.0",
        "1E5",
        "1.0",
        "[0.1,1e22,1e23,5e-324,1.7976931348623157e308,123456789012345680000.0]",
    ]
    .map(str::to_owned)
    .to_vec();
    for depth in [63, 64, 65, 128, 1000] {
        found.push("[".repeat(depth) + &"]".repeat(depth));
        found.push("{\"a\":".repeat(depth) + "1" + &"}".repeat(depth));
    }
    for digits in [19, 20, 309, 4300, 4301] {
        found.push("9".repeat(digits));
    }
    let template = vectors(include_str!("../../../../tests/vectors/config-quirks.json"));
    for field in template["defaults"].as_object().expect("defaults").keys() {
        for raw in
            ["null", "\"\"", "1", "\" 1 \"", "1.5", "true", "[]", "{}", "\"1_0\"", "\"\\u0663\"", "-1", "2147483648", "[null]"]
        {
            found.push(with(field, raw));
        }
    }
    found
}

fn not_utf8() -> Vec<Vec<u8>> {
    let utf16 = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![b"\"\xff\"".to_vec(), b"\xc0\x80".to_vec(), utf16]
}
