use proptest::prelude::*;

use super::*;
use crate::vectors::{items, number, text, vector};

/// Returns this crate's output as text, or `None` if the input is rejected.
fn we_write(input: &str) -> Option<String> {
    let config = TrainConfig::parse(input.as_bytes()).ok()?;
    Some(String::from_utf8(config.to_bytes()).unwrap())
}

#[test]
fn every_quirk_is_read_and_written_as_train_lib_does() {
    let vectors = vector!("config-quirks");
    let default = text(&vectors["default_output"]);
    let mut wrong = Vec::new();
    for case in items(&vectors["cases"]) {
        let (field, raw) = (text(&case["field"]), text(&case["raw"]));
        let mut input = text(&vectors["template"]).to_owned();
        for (name, value) in vectors["defaults"].as_object().unwrap() {
            let value = if name == field { raw } else { text(value) };
            input = input.replace(&format!("@{name}@"), value);
        }
        let expected = (!case["writes"].is_null() && case["stricter"] == false).then(|| {
            let (head, tail) = (number(&case["writes"][0]), number(&case["writes"][2]));
            let middle = text(&case["writes"][1]);
            format!("{}{middle}{}", &default[..head], &default[default.len() - tail..])
        });
        if we_write(&input) != expected {
            let shown: String = raw.chars().take(60).collect();
            wrong.push(format!("{field} = {shown}: {}", if expected.is_some() { "write" } else { "refuse" }));
        }
    }
    assert!(wrong.is_empty(), "train_lib differs:\n{}", wrong.join("\n"));
}

#[test]
fn every_layout_is_read_and_written_as_train_lib_does() {
    for case in items(&vector!("config-layouts")) {
        assert_eq!(we_write(text(&case["input"])).as_deref(), case["output"].as_str(), "{}", case["name"]);
    }
}

#[test]
fn what_we_write_reads_back_as_the_same_train() {
    for step in items(&vector!("train")["steps"]) {
        let config = TrainConfig::parse(text(&step["config"]).as_bytes()).unwrap();
        assert_eq!(TrainConfig::parse(&config.to_bytes()).unwrap(), config);
        assert_eq!(we_write(text(&step["next_config"])).as_deref(), step["next_config"].as_str());
    }
}

fn with(route: &str, file_list: &str) -> String {
    format!(
        r#"{{"source":{{"type":"docker_repository","address":"a"}},"creator":{{"id":1,"rsa_public_key":""}},"proposal_id":1,
        "@id":"t","session_id":"","route":[{route}],"file_list":[{file_list}],"hash":"","signature":"",
        "build":{{"signature":"","rsa_public_key":""}}}}"#
    )
}

fn refused(input: &str) -> TrainConfigError {
    TrainConfig::parse(input.as_bytes()).unwrap_err()
}

#[test]
fn size_is_bounded() {
    let stop = r#"{"station":"s","eco_system":"tue","rsa_public_key":"","index":0},"#;
    let stops = |n: usize| stop.repeat(n).trim_end_matches(',').to_owned();
    assert!(TrainConfig::parse(with(&stops(MAX_ROUTE_STOPS), "").as_bytes()).is_ok());
    let names = |n: usize| "\"\",".repeat(n).trim_end_matches(',').to_owned();
    assert!(TrainConfig::parse(with("", &names(MAX_FILE_LIST)).as_bytes()).is_ok());
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for (input, limit) in [
        (with(&stops(MAX_ROUTE_STOPS + 1), ""), "route_stops"),
        (with("", &names(MAX_FILE_LIST + 1)), "file_list_entries"),
        (with("", &names(crate::json::MAX_VALUES)), "json_values"),
        (with("", &deep), "json_depth"),
        (with("", "").replace(':', &format!(":{}", " ".repeat(MAX_CONFIG_BYTES / 8))), "config_bytes"),
    ] {
        assert_eq!(refused(&input), TrainConfigError::LimitExceeded { limit });
    }
}

#[test]
fn every_field_has_a_longest_value_and_that_is_read_back() {
    let stop = r#"{"station":"@","eco_system":"tue","rsa_public_key":"","index":0,"encrypted_key":"","signature":{"digest":"","signature":""}}"#;
    let whole = with(stop, "\"\"").replace(r#""build""#, r#""@context":{"a":""},"result_hash":"","result_signature":"","build""#);
    let whole = whole.replace(r#""id":1"#, r#""id":"x","paillier_public_key":"","encrypted_key":"""#);
    let whole = whole
        .replace(r#""proposal_id":1"#, r#""proposal_id":"x""#)
        .replace(r#""address":"a""#, r#""address":"a","tag":"","branch":"""#);
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    // Every text field in turn, except `type` and `eco_system`, which are enumerations.
    let fields = [
        ("/proposal_id", longest::ID),
        ("/@id", longest::ID),
        ("/creator/id", longest::ID),
        ("/route/0/station", longest::ID),
        ("/session_id", longest::SESSION),
        ("/hash", longest::DIGEST),
        ("/result_hash", longest::DIGEST),
        ("/route/0/signature/digest", longest::DIGEST),
        ("/signature", longest::SIGNATURE),
        ("/result_signature", longest::SIGNATURE),
        ("/build/signature", longest::SIGNATURE),
        ("/creator/encrypted_key", longest::SIGNATURE),
        ("/route/0/encrypted_key", longest::SIGNATURE),
        ("/route/0/signature/signature", longest::SIGNATURE),
        ("/creator/rsa_public_key", longest::KEY),
        ("/creator/paillier_public_key", longest::KEY),
        ("/build/rsa_public_key", longest::KEY),
        ("/route/0/rsa_public_key", longest::KEY),
        ("/source/address", longest::PATH),
        ("/source/tag", longest::PATH),
        ("/source/branch", longest::PATH),
        ("/file_list/0", longest::PATH),
    ];
    let texts = |value: &serde_json::Value| value.to_string().matches(":\"").count() + value.to_string().matches("[\"").count();
    assert_eq!(texts(&whole), fields.len() + 3, "a text of the config without a bound here");
    for (field, most) in fields {
        let with = |length: usize| {
            let mut changed = whole.clone();
            *changed.pointer_mut(field).unwrap() = "ä".repeat(length).into();
            TrainConfig::parse(changed.to_string().as_bytes())
        };
        let longest = with(most).unwrap_or_else(|error| panic!("{field}: {error}"));
        assert_eq!(TrainConfig::parse(&longest.to_bytes()), Ok(longest), "{field}");
        assert!(matches!(with(most + 1), Err(TrainConfigError::TooLong { .. })), "{field} of {} characters", most + 1);
    }
    let mut changed = whole.clone();
    changed["@context"]["a"] = "x".repeat(longest::CONTEXT).into();
    assert_eq!(refused(&changed.to_string()).to_string(), "train config: @context is longer than 65536 characters");
}

#[test]
fn an_error_names_the_field_and_quotes_nothing() {
    let stop = r#"{"station":"s","eco_system":"sekret","rsa_public_key":"","index":0}"#;
    assert_eq!(refused(&with(stop, "")).to_string(), "train config: route[0].eco_system is not tue or padme");
    assert_eq!(refused(&with(r#"{"station":"sekret"}"#, "")).to_string(), "train config: route[0].eco_system is missing");
    assert_eq!(refused(&with("", r#""a",null"#)).to_string(), "train config: file_list[1] is missing");
    assert_eq!(refused("[]").to_string(), "train config: the whole is not an object");
    assert_eq!(refused("{}").to_string(), "train config: source is missing");
}

#[test]
fn a_truncated_config_is_refused_wherever_it_ends() {
    let whole = with("", "\"a\"");
    for end in 0..whole.len() {
        assert!(TrainConfig::parse(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_what_it_takes_reads_back(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let step = &vector!("config-layouts")[3];
        let mut bytes = text(&step["input"]).as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = TrainConfig::parse(&bytes[..cut.index(bytes.len())]);
        if let Ok(config) = TrainConfig::parse(&bytes) {
            prop_assert_eq!(TrainConfig::parse(&config.to_bytes()), Ok(config));
        }
    }
}
