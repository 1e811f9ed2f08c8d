//! Reading `/opt` and writing a layer.

use std::{hint::black_box, io::Write};

use criterion::{Criterion, Throughput};
use stationmaster_image::{
    ImageError,
    filesystem::tree_digest::tree_digest,
    opt::{
        reader::{TrainTreeSink, read_opt},
        train_dirs::TrainDir,
    },
    tar::{
        entry::FileAttrs,
        layer_writer::{HashingWriter, LayerPlan, write_archive},
    },
};
use stationmaster_train::digest::Sha256Digest;

/// Trains as archives: so many files of so many bytes.
const SHAPES: [(&str, u32, usize); 2] = [("1 file of 4 MiB", 1, 4 << 20), ("1,000 files of 1 kB", 1_000, 1_000)];

fn plan(files: u32, bytes: usize) -> LayerPlan<'static, ()> {
    let mut plan = LayerPlan::default();
    for area in [TrainDir::Results, TrainDir::Train] {
        plan.directory(area.path(), FileAttrs::directory(1), false);
        if area == TrainDir::Results {
            (0..files)
                .for_each(|file| plan.file(format!("{}/{file:06}", area.path()), FileAttrs::immutable_file(1), bytes as u64, ()));
        }
    }
    plan
}

fn write(plan: &LayerPlan<'_, ()>, content: &[u8], out: &mut impl Write) -> Sha256Digest {
    let mut hashing = HashingWriter::new(out);
    let given = |(): &(), each: &mut dyn FnMut(&[u8]) -> Result<(), ImageError>| each(content);
    write_archive(&mut hashing, plan, given).expect("room");
    hashing.finish()
}

/// Counts what it is given.
#[derive(Default)]
struct Counting(u64);

impl TrainTreeSink for Counting {
    type Error = ImageError;

    fn chunk(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

/// What `docker save` gives of an image of one layer.
fn saved(layer: &[u8]) -> Vec<u8> {
    let manifest = br#"[{"Config":"c.json","RepoTags":null,"Layers":["0/layer.tar"]}]"#;
    let mut plan = LayerPlan::default();
    plan.file("0/layer.tar", FileAttrs::immutable_file(1), layer.len() as u64, layer);
    plan.file("manifest.json", FileAttrs::immutable_file(1), manifest.len() as u64, &manifest[..]);
    let mut out = Vec::new();
    let given = |content: &&[u8], each: &mut dyn FnMut(&[u8]) -> Result<(), ImageError>| each(content);
    write_archive(&mut out, &plan, given).expect("room");
    out
}

/// The strict reader, the layer writer with its digest, and the digest of the tree.
pub fn all(criterion: &mut Criterion) {
    for (name, files, bytes) in SHAPES {
        let (plan, content) = (plan(files, bytes), vec![7; bytes]);
        let mut archive = Vec::new();
        write(&plan, &content, &mut archive);
        let saved = saved(&archive);
        let layers = [Sha256Digest::of(&archive).to_string()];
        let mut group = criterion.benchmark_group(format!("archive, {name}"));
        group.throughput(Throughput::Bytes(archive.len() as u64));
        group.bench_function("read strictly", |bencher| {
            bencher.iter(|| {
                let mut counting = Counting::default();
                read_opt(&archive[..], &mut counting).expect("a train");
                assert_eq!(black_box(counting.0), u64::from(files) * bytes as u64);
            });
        });
        group.bench_function("write a layer", |bencher| {
            bencher.iter(|| black_box(write(&plan, &content, &mut std::io::sink())));
        });
        group.bench_function("digest of the tree", |bencher| {
            bencher.iter(|| black_box(tree_digest(&saved[..], Some(&layers), |_| {}).expect("an image").digest));
        });
        group.finish();
    }
}
