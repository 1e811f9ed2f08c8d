//! JSON, and the config of a train in it.

use stationmaster_train::{
    config::{MAX_FILE_LIST, MAX_ROUTE_STOPS, TrainConfig},
    json::{Json, MAX_DEPTH},
    keys::PublicKey,
    names::Listing,
    route,
};

/// What we accept, another reader accepts and sees the same in it; what we write, we read back.
pub fn json(text: &[u8]) {
    let Ok(value) = Json::parse(text) else { return };
    let mut longest_number = 0;
    look(&value, MAX_DEPTH + 1, &mut longest_number);
    let written = value.to_python_text();
    assert!(written.is_ascii(), "Python escapes all else");
    assert_eq!(Json::parse(written.as_bytes()).as_ref(), Ok(&value), "what was written reads back");
    // serde_json holds no integers beyond a float's range.
    if longest_number < 300 {
        match serde_json::from_slice(text) {
            Ok(other) => same(&value, &other),
            // It takes the last floats before infinity for infinite.
            Err(error) => assert!(error.to_string().starts_with("number out of range"), "what we accept is JSON: {error}"),
        }
    }
}

fn look(value: &Json, depth_left: usize, longest_number: &mut usize) {
    assert!(depth_left > 0, "nesting is bounded");
    match value {
        Json::Int(number) => *longest_number = number.as_str().len().max(*longest_number),
        Json::Float(number) => assert!(number.is_finite()),
        Json::Array(items) => items.iter().for_each(|item| look(item, depth_left - 1, longest_number)),
        Json::Object(fields) => {
            let mut keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
            keys.sort_unstable();
            assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "keys are unique");
            fields.iter().for_each(|(_, field)| look(field, depth_left - 1, longest_number));
        }
        _ => {}
    }
}

fn same(ours: &Json, other: &serde_json::Value) {
    use serde_json::Value;
    match (ours, other) {
        (Json::Null, Value::Null) => {}
        (Json::Bool(ours), Value::Bool(other)) => assert_eq!(ours, other),
        (Json::Int(ours), Value::Number(other)) => {
            if let Some(other) = other.as_i64() {
                assert_eq!(ours.to_i64(), Some(other));
            }
        }
        // serde_json's floats may be off in the last place (its `float_roundtrip` is off).
        (Json::Float(ours), Value::Number(other)) => {
            let other = other.as_f64().expect("a float");
            assert!((ours - other).abs() <= ours.abs() * 1e-15 || ours == &other || other.abs() < 1e-300);
        }
        (Json::Text(ours), Value::String(other)) => assert_eq!(ours, other),
        (Json::Array(ours), Value::Array(other)) => {
            assert_eq!(ours.len(), other.len());
            ours.iter().zip(other).for_each(|(ours, other)| same(ours, other));
        }
        (Json::Object(ours), Value::Object(other)) => {
            assert_eq!(ours.len(), other.len());
            ours.iter().for_each(|(key, ours)| same(ours, &other[key]));
        }
        (ours, other) => panic!("two readers see two things: {ours:?}, {other:?}"),
    }
}

/// What was accepted is written and read back as the same train; what is made of its parts never panics.
pub fn config(text: &[u8]) {
    let config = match TrainConfig::parse(text) {
        Ok(config) => config,
        Err(error) => {
            assert!(error.to_string().len() < 400, "messages do not quote");
            return;
        }
    };
    assert!(config.route.len() <= MAX_ROUTE_STOPS && config.file_list.len() <= MAX_FILE_LIST);
    let written = config.to_bytes();
    let again = TrainConfig::parse(&written).expect("what we write, we read");
    assert_eq!(again, config);
    assert_eq!(again.to_bytes(), written, "writing is stable");
    if let Ok(listing) = Listing::new(&config.file_list) {
        assert!(listing.names().len() <= config.file_list.len());
    }
    if let Some(stop) = config.route.first() {
        let id = stop.station.to_string();
        if let Ok(own) = route::own_stop(&config, &id) {
            assert_eq!(config.route[own.position()].station.to_string(), id);
            assert_eq!(config.route[own.position()].index, i64::from(own.index().get()));
            assert_eq!(own.is_first(), config.result_hash.is_none(), "the index decides, and the digest fits it");
        }
        let _ = PublicKey::from_hex_pem(&stop.rsa_public_key);
    }
    for hex in [&config.hash, &config.signature, &config.session_id] {
        if let Ok(bytes) = hex.decode() {
            assert!(bytes.len() * 2 <= hex.as_str().len());
        }
    }
}
