//! All cryptographic refusals are one refusal: byte for byte the same to the caller, and the same work before it.

use std::time::{Duration, Instant};

use openssl::md::Md;
use stationmaster_proto as pb;

use crate::{
    steps::refusals::{second_stop, wrap, wrap_oddly},
    support::{
        Engine, Station, Train, block_on,
        proxied::put_behind_proxy,
        set,
        tamper::{Before, RESULTS, Rootfs, Scene, flip_hex, run_script, stop},
    },
};

const FILE: &str = "opt/pht_train/data.bin";
const QUERY: &str = "opt/pht_train/query.json";
const RESULT: &str = "opt/pht_results/d/a";

/// A way to be wrong in cryptography.
type Kind<'a> = (&'a str, Box<dyn Fn(&mut Rootfs) + 'a>);

fn kind<'a>(name: &'a str, change: impl Fn(&mut Rootfs) + 'a) -> Kind<'a> {
    (name, Box::new(change))
}

/// The last padding byte, changed through the block before it.
fn break_padding(sealed: &mut [u8]) {
    *sealed.iter_mut().nth_back(16).expect("two blocks") ^= 0x80;
}

/// Every kind of cryptographic fault that a train at its second stop can have. `ours` and `other` are public keys, hex of PEM.
fn kinds<'a>(ours: &'a str, other: &'a str) -> Vec<Kind<'a>> {
    let wrapped = |name, key: String| {
        kind(name, move |train| train.edit_config(|config| stop(config, 1)["encrypted_key"] = key.as_str().into()))
    };
    let config = |name, change: fn(&mut serde_json::Value)| kind(name, move |train: &mut Rootfs| train.edit_config(change));
    vec![
        kind("a bit of the wrapped key", |train| {
            train.edit_config(|config| flip_hex(&mut stop(config, 1)["encrypted_key"]));
        }),
        wrapped("a key wrapped for another station", wrap(other, &[7; 32])),
        wrapped("another key, wrapped for us", wrap(ours, &[7; 32])),
        wrapped("a key of no cipher's length", wrap(ours, &[7; 31])),
        wrapped("OAEP with a label", wrap_oddly(ours, Md::sha512(), b"label")),
        wrapped("OAEP with SHA-1", wrap_oddly(ours, Md::sha1(), b"")),
        wrapped("larger than the modulus", "ff".repeat(256)),
        wrapped("shorter than the modulus", "00".repeat(255)),
        wrapped("not hex", "zz".repeat(256)),
        kind("a listed file's padding", |train| break_padding(train.content(FILE))),
        kind("the query's padding", |train| break_padding(train.content(QUERY))),
        kind("a result's padding", |train| break_padding(train.content(RESULT))),
        kind("a listed file changed", |train| train.content(FILE)[20] ^= 1),
        kind("the query changed", |train| train.content(QUERY)[20] ^= 1),
        kind("a result changed", |train| train.content(RESULT)[3] ^= 1),
        kind("a sealed file cut off between blocks", |train| {
            let short = train.content(FILE).len() - 16;
            train.content(FILE).truncate(short);
        }),
        kind("a sealed file cut off within a block", |train| {
            let short = train.content(FILE).len() - 5;
            train.content(FILE).truncate(short);
        }),
        kind("a sealed file without its first vector", |train| train.content(FILE).truncate(9)),
        kind("a sealed result without anything", |train| train.content(RESULT).clear()),
        config("the creator's signature", |config| flip_hex(&mut config["signature"])),
        config("the creator's signature, not hex", |config| config["signature"] = "zz".into()),
        config("the creator's digest", |config| flip_hex(&mut config["hash"])),
        config("the builder's signature", |config| flip_hex(&mut config["build"]["signature"])),
        config("the builder's key", |config| config["build"]["rsa_public_key"] = "00".into()),
        config("the chain's digest", |config| flip_hex(&mut stop(config, 0)["signature"]["digest"])),
        config("the chain's signature", |config| flip_hex(&mut stop(config, 0)["signature"]["signature"])),
        config("the results' digest", |config| flip_hex(&mut config["result_hash"])),
        config("the results' signature", |config| flip_hex(&mut config["result_signature"])),
        config("no results' signature", |config| config["result_signature"] = serde_json::Value::Null),
    ]
}

/// A pre-run that is refused: the status as it came, and how long that took.
fn refusal_of(station: &Station, image: &str) -> (tonic::Status, Duration) {
    let request = pb::PreRunRequest { image: image.into(), ..Default::default() };
    let mut client = station.trains_client();
    let begun = Instant::now();
    let status = block_on(async { refused_in(client.pre_run(request).await).await });
    (status, begun.elapsed())
}

/// The same of a hash of the train, which opens it too.
fn hash_refusal_of(station: &Station, image: &str) -> tonic::Status {
    let request = pb::HashImageRequest { image: image.into(), train_only: true };
    let mut client = station.images_client();
    block_on(async { refused_in(client.hash_image(request).await).await })
}

/// The status that ends a stream.
async fn refused_in<T>(answer: Result<tonic::Response<tonic::Streaming<T>>, tonic::Status>) -> tonic::Status {
    let mut stream = match answer {
        Ok(stream) => stream.into_inner(),
        Err(status) => return status,
    };
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it was not refused"),
            Err(status) => return status,
        }
    }
}

/// All that a caller sees of a status; the refusal's own id is taken out, and given back.
fn seen_of(status: &tonic::Status) -> (String, String) {
    use tonic_types::StatusExt;
    let id = status.get_error_details().error_info().expect("an ErrorInfo").metadata["refusal_id"].clone();
    let details = status.details().to_vec();
    let at = details.windows(id.len()).position(|window| window == id.as_bytes()).expect("the id among the details");
    let masked = [&details[..at], &details[at + id.len()..]].concat();
    let mut names: Vec<String> = status
        .metadata()
        .clone()
        .into_headers()
        .iter()
        // The moment of the answer is in every answer.
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    names.sort();
    let seen = format!(
        "code {:?}\nmessage {}\ndetails {} at {at} of {}\ntrailers {names:?}",
        status.code(),
        status.message(),
        const_hex::encode(masked),
        details.len(),
    );
    (seen, id)
}

/// The phases that the log has of the refused run before a refusal's id: names only.
fn phases_before(log: &str, id: &str) -> Vec<String> {
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let refusal = lines.iter().position(|line| line.to_string().contains(id)).expect("the refusal in the log");
    let phases = lines[..refusal].iter().rev().find_map(|line| field(line, "phases").map(str::to_owned)).expect("phases");
    phases.split(", ").map(|phase| phase.rsplit_once(' ').expect("a name and a time").0.to_owned()).collect()
}

/// How far one kind's times stand from all others', in standard deviations (Mann-Whitney).
fn z_of(times: &[Vec<Duration>], at: usize) -> f64 {
    let mut all: Vec<(Duration, bool)> =
        times.iter().enumerate().flat_map(|(kind, times)| times.iter().map(move |time| (*time, kind == at))).collect();
    all.sort_unstable();
    let ranks: f64 = all.iter().enumerate().filter(|(_, (_, own))| *own).map(|(rank, _)| rank as f64 + 1.0).sum();
    let (own, others) = (times[at].len() as f64, (all.len() - times[at].len()) as f64);
    let u = ranks - own * (own + 1.0) / 2.0;
    (u - own * others / 2.0) / (own * others * (own + others + 1.0) / 12.0).sqrt()
}

/// What was asked of the engine, without the names of what was made for the call, and without signs of life.
fn asked_of(requests: &[String]) -> Vec<String> {
    let is_name =
        |part: &str| part.len() >= 32 && part.bytes().filter(|byte| byte.is_ascii_hexdigit() || *byte == b'-').count() >= 30;
    let plain = |line: &String| {
        let parts = line.split(['/', '?', '&', '=', '%', ' ', ':']).map(|part| if is_name(part) { "*" } else { part });
        // One kind's name is as long as another's.
        parts.filter(|part| !part.contains("kind-")).collect::<Vec<_>>().join("/")
    };
    let mut asked: Vec<String> =
        requests.iter().filter(|line| !line.contains("/version") && !line.contains("/_ping")).map(plain).collect();
    asked.sort();
    asked
}

fn field<'a>(line: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    line[name].as_str().or_else(|| line["fields"][name].as_str())
}

#[test]
fn every_cryptographic_refusal_is_the_same_byte_for_byte_after_the_same_work() {
    let (mut scene, other) = second_stop();
    let proxy = put_behind_proxy(&mut scene.station, |config| {
        // Each kind is looked for in the log.
        set(config, "limits", "principal_refusals_per_min", 10_000);
    });
    let (ours, theirs) = (scene.station.hex_pem(), other_key(&scene));
    let sealed = scene.rootfs();
    let kinds = kinds(&ours, &theirs);
    for (at, (_, change)) in kinds.iter().enumerate() {
        let mut tampered = sealed.clone();
        change(&mut tampered);
        tampered.put(&scene.engine, &scene.train.repository, &format!("kind-{at}"));
    }
    let before = Before::of(&scene.engine, &scene.train);
    let mut first: Option<(String, Vec<String>, Vec<String>)> = None;
    let mut bytes = Vec::new();
    let mut causes = std::collections::BTreeSet::new();
    for (at, (name, _)) in kinds.iter().enumerate() {
        let (asked, moved) = (proxy.requests().len(), proxy.bytes_from_engine());
        let (status, _) = refusal_of(&scene.station, &format!("{}:kind-{at}", scene.train.repository));
        bytes.push(proxy.bytes_from_engine() - moved);
        let asked = asked_of(&proxy.requests()[asked..]);
        let (seen, id) = seen_of(&status);
        assert!(seen.starts_with("code FailedPrecondition"), "{name}: {seen}");
        let hash = hash_refusal_of(&scene.station, &format!("{}:kind-{at}", scene.train.repository));
        assert_eq!(seen_of(&hash).0, seen, "{name}: a hash tells more");
        let log = scene.station.log();
        let line = log.lines().find(|line| line.contains(&id)).expect("the refusal in the log");
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        causes.insert(field(&line, "detail").expect("a cause").to_owned());
        let now = (seen, phases_before(&log, &id), asked);
        assert_eq!(*first.get_or_insert_with(|| now.clone()), now, "{name} can be told from {}", kinds[0].0);
    }
    before.assert(&scene.station, "cryptographic refusals");
    let (seen, phases, asked) = first.expect("a kind");
    eprintln!(
        "{} kinds, one refusal after {phases:?}, {} requests and {:?} to {:?} bytes of the engine; {} causes in the log only\n{seen}",
        kinds.len(),
        asked.len(),
        bytes.iter().min(),
        bytes.iter().max(),
        causes.len()
    );
    assert!(phases.ends_with(&["token".into(), "read".into(), "verify".into()]), "{phases:?}");
    assert!(causes.len() >= 8, "the log does not tell them apart: {causes:?}");
    drop(other);
    scene.still_works();
}

/// The first stop's key, as the train's route has it.
fn other_key(scene: &Scene) -> String {
    stop(&mut scene.rootfs().config(), 0)["rsa_public_key"].as_str().expect("a key").to_owned()
}

/// How long each kind takes, in turns. Nothing is asserted of time; `UNIFORM_ROUNDS` makes it a measurement.
#[test]
fn the_time_of_cryptographic_refusals_is_shown() {
    let rounds: usize = std::env::var("UNIFORM_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let megabytes: u64 = std::env::var("UNIFORM_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let (engine, first, second) = (Engine::connect(), Station::start("a"), Station::start("b"));
    let train = Train::of(&[first.seat(), second.seat()]).file("large.bin", megabytes << 20).make();
    let run = first.pre_run(&train.image).unwrap();
    run_script(&engine, &train.image, RESULTS);
    first.post_run(&run.run_id).unwrap();
    let (ours, theirs) = (second.hex_pem(), first.hex_pem());
    let chosen = [
        "a bit of the wrapped key",
        "another key, wrapped for us",
        "a key of no cipher's length",
        "a listed file's padding",
        "a result's padding",
        "a listed file changed",
        "a result changed",
        "the builder's signature",
        "the chain's signature",
    ];
    let sealed = Rootfs::of(&engine, &train.image);
    let kinds: Vec<Kind> = kinds(&ours, &theirs).into_iter().filter(|(name, _)| chosen.contains(name)).collect();
    for (at, (_, change)) in kinds.iter().enumerate() {
        let mut tampered = sealed.clone();
        change(&mut tampered);
        tampered.put(&engine, &train.repository, &format!("kind-{at}"));
    }
    let mut times = vec![Vec::new(); kinds.len()];
    for round in 0..=rounds {
        for turn in 0..kinds.len() {
            // Another order in every round: nothing is always first.
            let at = (turn * 4 + round) % kinds.len();
            let (_, took) = refusal_of(&second, &format!("{}:kind-{at}", train.repository));
            // The first round warms up.
            if round > 0 {
                times[at].push(took);
            }
        }
    }
    let mut medians = Vec::new();
    let most_z = (0..kinds.len()).map(|at| z_of(&times, at).abs()).fold(0.0, f64::max);
    for ((name, _), times) in kinds.iter().zip(&mut times) {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
        medians.push(at(50));
        eprintln!("{:7.2} ms median, {:7.2} to {:7.2} (10 to 90 %)  {name}", at(50), at(10), at(90));
    }
    let (least, most) = medians.iter().fold((f64::MAX, 0.0_f64), |(least, most), &now| (least.min(now), most.max(now)));
    eprintln!(
        "uniform refusals: {} kinds x {rounds}, {megabytes} MiB of code: medians {least:.2} to {most:.2} ms, spread {:.1} %, a kind against \
         all others: at most |z| = {most_z:.1} (Mann-Whitney)",
        kinds.len(),
        (most - least) / least * 100.0
    );
}
