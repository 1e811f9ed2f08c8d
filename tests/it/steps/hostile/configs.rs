//! The 62 classes of hostile configs.

mod keys;
mod text;

use serde_json::Value;

use super::{
    archive::entry,
    case::{
        Expected,
        Expected::{Either, Refused, Rule, Taken},
        Stage,
    },
    images::CONFIG,
};
use crate::{
    steps::refusals::{wrap, wrap_oddly},
    support::{Seat, proxy::Body, tamper::stop},
};

/// An input: its class, what it is, the config, what must become of it.
pub type Row = (u32, String, Vec<u8>, Expected);

pub const MALFORMED: Expected = Refused("CONFIG_MALFORMED");
pub const ROUTE: Expected = Refused("ROUTE_REJECTED");
pub const LIMIT: Expected = Refused("LIMIT_EXCEEDED");
/// What cryptography finds, or before it the list of whom this station trusts.
pub const UNBELIEVED: Expected = Either("TRAIN_AUTHENTICATION_FAILED", "KEY_UNTRUSTED");

/// A config after a change.
pub fn changed(honest: &Value, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut config = honest.clone();
    change(&mut config);
    config.to_string().into_bytes()
}

/// Another stop behind ours, which has not signed and holds this key.
pub fn next_stop(config: &mut Value, hex_pem: &str) {
    let mut next = stop(config, 0).clone();
    (next["station"], next["index"], next["encrypted_key"]) = ("z".into(), 1.into(), Value::Null);
    next["rsa_public_key"] = hex_pem.into();
    config["route"].as_array_mut().expect("a route").push(next);
}

/// We are the second stop, behind one that has signed.
fn second(config: &mut Value) {
    let mut first = stop(config, 0).clone();
    stop(config, 0)["index"] = 1.into();
    first["station"] = "z".into();
    first["encrypted_key"] = Value::Null;
    first["signature"] = serde_json::json!({ "digest": "00".repeat(64), "signature": "00".repeat(256) });
    config["route"].as_array_mut().expect("a route").push(first);
    config["result_hash"] = "00".repeat(64).into();
    config["result_signature"] = "00".repeat(256).into();
}

/// Text of the honest config with something in front of its first field.
pub fn with_first(honest: &Value, fields: &str) -> Vec<u8> {
    format!("{{{fields},{}", &honest.to_string()[1..]).into_bytes()
}

fn routes(honest: &Value, ours: &str) -> Vec<Row> {
    let row = |class, what: &str, expected, change: &dyn Fn(&mut Value)| {
        (class, what.to_owned(), changed(honest, |config| change(config)), expected)
    };
    let index = |value: Value, expected| {
        (42, format!("index {value}"), changed(honest, |config| stop(config, 0)["index"] = value.clone()), expected)
    };
    let short = |count: usize| {
        changed(honest, |config| {
            let ours = stop(config, 0).clone();
            let mut route = vec![ours];
            route.extend(
                (1..count)
                    .map(|at| serde_json::json!({ "station": "z", "eco_system": "tue", "rsa_public_key": "", "index": at })),
            );
            config["route"] = route.into();
        })
    };
    vec![
        row(39, "no stop is ours", ROUTE, &|config| stop(config, 0)["station"] = "b".into()),
        row(40, "two stops are ours", ROUTE, &|config| {
            next_stop(config, ours);
            stop(config, 1)["station"] = "a".into();
        }),
        row(41, "an index twice", ROUTE, &|config| {
            next_stop(config, ours);
            config["route"][1]["index"] = 0.into();
        }),
        row(42, "a gap", ROUTE, &|config| {
            next_stop(config, ours);
            config["route"][1]["index"] = 2.into();
        }),
        row(42, "from one", ROUTE, &|config| stop(config, 0)["index"] = 1.into()),
        index((-1).into(), ROUTE),
        index((1u64 << 31).into(), ROUTE),
        index((1u64 << 32).into(), ROUTE),
        index((1u64 << 53).into(), ROUTE),
        index(i64::MIN.into(), ROUTE),
        index((1u64 << 63).into(), MALFORMED),
        index("1e0".into(), MALFORMED),
        index("0".into(), Taken("train_lib reads it so too")),
        index(true.into(), ROUTE),
        row(43, "no stops", ROUTE, &|config| config["route"] = Value::Array(Vec::new())),
        (43, "10,000 stops".into(), short(10_000), Rule("route-keys-usable")),
        (43, "10,001 stops".into(), short(10_001), LIMIT),
        row(44, "stops in another order", Taken("the indices say the order"), &|config| {
            next_stop(config, ours);
            config["route"].as_array_mut().unwrap().reverse();
        }),
        row(45, "R1: a later stop without results", ROUTE, &|config| {
            second(config);
            config["result_hash"] = Value::Null;
        }),
        row(45, "R1: nor their signature", ROUTE, &|config| {
            second(config);
            (config["result_hash"], config["result_signature"]) = (Value::Null, Value::Null);
        }),
        row(46, "a first stop with results", ROUTE, &|config| config["result_hash"] = "00".repeat(64).into()),
        row(47, "the stop before has not signed", ROUTE, &|config| {
            second(config);
            config["route"][1]["signature"] = Value::Null;
        }),
        row(47, "our own stop has signed", ROUTE, &|config| {
            stop(config, 0)["signature"] = serde_json::json!({ "digest": "00", "signature": "00" });
        }),
        row(47, "a signature without its digest", MALFORMED, &|config| {
            second(config);
            config["route"][1]["signature"]["digest"] = Value::Null;
        }),
        row(48, "R2: a chain digest that no stop computed", UNBELIEVED, &second),
        row(49, "a chain digest that is none", UNBELIEVED, &|config| {
            second(config);
            config["route"][1]["signature"]["digest"] = "00".into();
        }),
        row(49, "a results digest that is none", UNBELIEVED, &|config| {
            second(config);
            config["result_hash"] = "".into();
        }),
        row(50, "R3: the creator's key is the builder's", UNBELIEVED, &|config| {
            config["creator"]["rsa_public_key"] = config["build"]["rsa_public_key"].clone();
        }),
        row(50, "R3: the creator's key is ours", UNBELIEVED, &|config| config["creator"]["rsa_public_key"] = ours.into()),
    ]
}

fn files_and_keys(honest: &Value, ours: &str, other: &str) -> Vec<Row> {
    let listed = |class, name: &str, expected| {
        let config = changed(honest, |config| config["file_list"].as_array_mut().unwrap().push(name.into()));
        (class, format!("{name:?} on the list"), config, expected)
    };
    let wrapped = |class, what: &str, key: String| {
        (class, what.to_owned(), changed(honest, |config| stop(config, 0)["encrypted_key"] = key.clone().into()), UNBELIEVED)
    };
    let address = |address: &str| {
        let config = changed(honest, |config| config["source"]["address"] = address.into());
        (61, format!("address {:.40?}", address), config, Taken("nothing is ever fetched from it"))
    };
    let too_long = |what: &str, config: Vec<u8>| (60, what.to_owned(), config, MALFORMED);
    let session = |what: &str, id: String| {
        let expected = Either("TRAIN_AUTHENTICATION_FAILED", "IMAGE_POLICY_VIOLATION");
        (62, what.to_owned(), changed(honest, |config| config["session_id"] = id.clone().into()), expected)
    };
    let names = Rule("plain-names");
    let mut rows: Vec<Row> = ["../x", "a/../x", "/etc/passwd", "", ".", "././x", "a//b", "a\\b", ".wh.x", "a\u{202e}b", "a\nb"]
        .map(|name| listed(54, name, names))
        .into();
    let first = honest["file_list"][0].as_str().expect("a file").to_owned();
    rows.extend([
        listed(54, "not-there", Rule("listed-files-present")),
        listed(55, &first, Taken("the second time it adds nothing, as at the peers")),
        listed(55, first.trim_start_matches("./"), Taken("one leading ./ is no part of a name")),
        listed(55, "query.json", names),
        listed(55, "./query.json", names),
        wrapped(56, "a key for another station", wrap(other, &[7; 32])),
        wrapped(57, "a key of 16 bytes that is another", wrap(ours, &[7; 16])),
        wrapped(58, "OAEP with a label", wrap_oddly(ours, openssl::md::Md::sha512(), b"label")),
        wrapped(59, "OAEP with SHA-1", wrap_oddly(ours, openssl::md::Md::sha1(), b"")),
        wrapped(59, "OAEP with SHA-256", wrap_oddly(ours, openssl::md::Md::sha256(), b"")),
        wrapped(60, "c >= n", "ff".repeat(256)),
        wrapped(60, "c = 0", "00".repeat(256)),
        wrapped(60, "c = 1", format!("{}01", "00".repeat(255))),
        wrapped(60, "a byte short", "00".repeat(255)),
        wrapped(60, "a byte long", "00".repeat(257)),
        too_long(
            "a wrapped key of a megabyte",
            changed(honest, |config| stop(config, 0)["encrypted_key"] = "00".repeat(1 << 20).into()),
        ),
        address("file:///etc/passwd"),
        address("http://169.254.169.254/latest/meta-data"),
        address("$(touch /stationmaster-hostile-canary)"),
        too_long("an address of a megabyte", changed(honest, |config| config["source"]["address"] = "a".repeat(1 << 20).into())),
        session("another session", "00".repeat(64)),
        session("a longer session", format!("{}00", honest["session_id"].as_str().expect("hex"))),
        session("a shorter session", honest["session_id"].as_str().expect("hex")[2..].to_owned()),
    ]);
    rows.extend([0, 1, 15, 17, 31, 33, 64].map(|len| wrapped(57, &format!("a key of {len} bytes"), wrap(ours, &vec![7; len]))));
    rows
}

#[test]
fn every_hostile_config_is_refused_for_its_reason_and_changes_nothing() {
    let mut stage = Stage::set();
    let honest = stage.scene().rootfs().config();
    let (ours, general) =
        (stage.scene().station.hex_pem(), stage.scene().station.key("a-general").expect("a key").public_key_hex_pem);
    let rows = [
        text::rows(&honest),
        text::hex(&honest),
        keys::rows(&honest, &Seat { id: "a".into(), hex_pem: ours.clone() }, &general),
        routes(&honest, &ours),
        files_and_keys(&honest, &ours, &general),
    ];
    for (class, what, config, expected) in rows.concat() {
        stage.proxied.proxy.reply(CONFIG, 1, Body::tar([entry(b"train_config.json", b'0', &config), vec![0; 1024]].concat()));
        let outcome = stage.judge(class, &what, expected);
        assert!(outcome.is_none_or(|outcome| outcome.dropped_files.is_empty()), "{class} {what}");
    }
    keys::signatures(&mut stage.tally);
    stage.close("hostile configs", 62, 150);
}
