//! Results of a size, made while they are sent.

use std::{fmt, io, iter, str::FromStr};

use bytes::Bytes;
use stationmaster_image::tar::{
    entry::FileAttrs,
    layer_writer::{LayerEntry, LayerPlan, LayerWriter},
};

/// Bytes of content made at a time.
const PIECE: u64 = 256 * 1024;
/// Files of one directory.
const PER_DIRECTORY: u64 = 100;

/// So many files of so many bytes, which do not compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// How many files.
    pub files: u64,
    /// Bytes of each.
    pub each: u64,
}

impl Payload {
    /// All bytes.
    pub fn bytes(self) -> u64 {
        self.files * self.each
    }

    /// An archive with `pht_results` in it, for the engine to unpack in `/opt`.
    pub fn archive(self) -> impl Iterator<Item = io::Result<Bytes>> + Send + 'static {
        let mut plan = LayerPlan::default();
        plan.directory("pht_results", FileAttrs::directory(1), false);
        for file in 0..self.files {
            if self.files > 1 && file % PER_DIRECTORY == 0 {
                plan.directory(format!("pht_results/d{:04}", file / PER_DIRECTORY), FileAttrs::directory(1), false);
            }
            let name = match self.files {
                1 => "pht_results/bulk.bin".to_owned(),
                _ => format!("pht_results/d{:04}/f{file:06}.bin", file / PER_DIRECTORY),
            };
            plan.file(name, FileAttrs::immutable_file(1), self.each, ());
        }
        random_archive(&plan)
    }
}

/// An archive of what is planned, with contents that do not compress; piece by piece, never whole.
pub fn random_archive(plan: &LayerPlan<'static, ()>) -> impl Iterator<Item = io::Result<Bytes>> + Send + use<> {
    let entries: Vec<LayerEntry<'static, ()>> = plan.entries().to_vec();
    let pieces = entries.into_iter().flat_map(|entry| {
        let size = if let LayerEntry::File { size, .. } = entry { size } else { 0 };
        let padding = size.next_multiple_of(512) - size;
        iter::once_with(move || header(&entry)).chain(random(size)).chain((padding > 0).then(|| Ok(zeros(padding))))
    });
    pieces.chain([Ok(zeros(1024))])
}

/// An entry's header alone: a writer that is dropped before the content.
fn header(entry: &LayerEntry<'_, ()>) -> io::Result<Bytes> {
    let mut out = Vec::new();
    LayerWriter::new(&mut out).begin(entry)?;
    Ok(out.into())
}

fn zeros(bytes: u64) -> Bytes {
    vec![0; bytes as usize].into()
}

fn random(bytes: u64) -> impl Iterator<Item = io::Result<Bytes>> {
    (0..bytes.div_ceil(PIECE)).map(move |piece| {
        let mut content = vec![0; PIECE.min(bytes - piece * PIECE) as usize];
        openssl::rand::rand_bytes(&mut content)?;
        Ok(content.into())
    })
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (files, each) = text.split_once('x').unwrap_or(("1", text));
        let split = each.find(|character: char| !character.is_ascii_digit()).unwrap_or(each.len());
        let (number, unit) = each.split_at(split);
        let factor = match unit {
            "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            other => return Err(format!("{other:?} is none of B, kB, MB, GB")),
        };
        let whole = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a whole number"));
        Ok(Self { files: whole(files)?, each: whole(number)? * factor })
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.each {
            each if each.is_multiple_of(1_000_000_000) => (each / 1_000_000_000, "GB"),
            each if each.is_multiple_of(1_000_000) => (each / 1_000_000, "MB"),
            each if each.is_multiple_of(1_000) => (each / 1_000, "kB"),
            each => (each, "B"),
        };
        if self.files == 1 { write!(out, "{number} {unit}") } else { write!(out, "{} × {number} {unit}", self.files) }
    }
}
