//! The train's formats: config, keys, digests, envelope.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use serde_json::Value;
use stationmaster_train::{
    config::TrainConfig,
    digest::{FileHasher, ImmutableHasher, ResultHasher},
    envelope::{EnvelopeKey, Opener, Sealer},
    keys::PublicKey,
    names::Listing,
};

/// Bytes handled at a time, as the service does.
const PIECE: usize = 256 * 1024;
/// Bytes of what is hashed and sealed.
const BYTES: usize = 4 << 20;

/// The config of a train on its way, as train_lib wrote it.
fn text() -> String {
    let train: Value = serde_json::from_str(include_str!("../../tests/vectors/train.json")).expect("JSON");
    train["steps"][1]["config"].as_str().expect("text").to_owned()
}

/// Reading and writing a config.
pub fn config(criterion: &mut Criterion) {
    let text = text();
    let config = TrainConfig::parse(text.as_bytes()).expect("a config");
    let mut group = criterion.benchmark_group("config");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |bencher| bencher.iter(|| black_box(TrainConfig::parse(text.as_bytes()).expect("a config"))));
    group.bench_function("write", |bencher| bencher.iter(|| black_box(config.to_bytes())));
    group.finish();
    let mut long = config.clone();
    long.file_list = (0..10_000).map(|file| format!("./directory/file-{file:05}.py")).collect();
    let text = String::from_utf8(long.to_bytes()).expect("text");
    let mut group = criterion.benchmark_group("config of 10,000 files");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |bencher| bencher.iter(|| black_box(TrainConfig::parse(text.as_bytes()).expect("a config"))));
    group.bench_function("file_list", |bencher| bencher.iter(|| black_box(Listing::new(&long.file_list).expect("names"))));
    group.finish();
}

/// What is done with a station's public key.
pub fn keys(criterion: &mut Criterion) {
    let config = TrainConfig::parse(text().as_bytes()).expect("a config");
    let stop = &config.route[0].rsa_public_key;
    let key = PublicKey::from_hex_pem(stop).expect("a key");
    let secret = EnvelopeKey::random().expect("a key");
    let mut group = criterion.benchmark_group("public key");
    group.bench_function("read", |bencher| bencher.iter(|| black_box(PublicKey::from_hex_pem(stop).expect("a key"))));
    group.bench_function("wrap", |bencher| bencher.iter(|| black_box(key.wrap(&secret).expect("wrapped"))));
    group.finish();
}

/// The digests of a train's content, in pieces as they stream.
pub fn digests(criterion: &mut Criterion) {
    let content = vec![7; BYTES];
    let config = TrainConfig::parse(text().as_bytes()).expect("a config");
    let session = config.session_id.decode().expect("hex");
    let mut group = criterion.benchmark_group("digest of 4 MiB");
    group.throughput(Throughput::Bytes(BYTES as u64));
    group.bench_function("immutable", |bencher| {
        bencher.iter(|| {
            let mut hasher = ImmutableHasher::new(&config.creator.id);
            content.chunks(PIECE).for_each(|piece| hasher.update(piece));
            black_box(hasher.finish(&session, None))
        });
    });
    group.bench_function("results", |bencher| {
        bencher.iter(|| {
            let mut hasher = ResultHasher::new();
            content.chunks(PIECE).for_each(|piece| hasher.update(piece));
            black_box(hasher.finish(&session))
        });
    });
    group.bench_function("layer", |bencher| {
        bencher.iter(|| {
            let mut hasher = FileHasher::new();
            content.chunks(PIECE).for_each(|piece| hasher.update(piece));
            black_box(hasher.finish())
        });
    });
    group.finish();
}

fn sealed(key: &EnvelopeKey, content: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut sealer = Sealer::new(key).expect("a cipher");
    content.chunks(PIECE).for_each(|piece| sealer.update(piece, out).expect("a cipher"));
    sealer.finish(out).expect("a cipher");
}

/// Sealing and opening one file.
pub fn envelope(criterion: &mut Criterion) {
    let key = EnvelopeKey::random().expect("a key");
    for (name, content) in [("4 MiB", vec![7; BYTES]), ("10 kB", vec![7; 10_000])] {
        let mut group = criterion.benchmark_group(format!("envelope of {name}"));
        group.throughput(Throughput::Bytes(content.len() as u64));
        let mut out = Vec::new();
        group.bench_function("seal", |bencher| bencher.iter(|| sealed(&key, &content, &mut out)));
        sealed(&key, &content, &mut out);
        let mut plain = Vec::with_capacity(PIECE + 32);
        group.bench_function("open", |bencher| {
            bencher.iter(|| {
                let mut opener = Opener::new(&key);
                for piece in out.chunks(PIECE) {
                    plain.clear();
                    opener.update(piece, &mut plain).expect("sealed with this key");
                }
                plain.clear();
                opener.finish(&mut plain).expect("sealed with this key");
                black_box(plain.len())
            });
        });
        group.finish();
    }
}
