//! Scans every layer of an image before a push, for content that must not leave the station: unsealed files, and files that are
//! not the train's.
//!
//! The archive is read once. Which layers are the base's is known only at its end, so entries that may belong to the base are
//! kept until then.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use stationmaster_train::{
    config::TrainConfig,
    digest::{FileHasher, Sha256Digest},
    envelope::{Shape, ShapeVerdict, has_whole_blocks},
    rule::Rule,
};
use tar::EntryType;

use crate::{
    ImageError,
    archive::{layer_sink::LayerSink, memory_budget::Share, source::ImageInput},
    oci::whiteouts::WHITEOUT,
    opt::train_dirs::{CONFIG_LIMIT, TrainDir},
    tar::{entry::plain_path, reader::TarEntry},
};

/// Maximum number of suspects of one kind that are kept for a layer; the rest is counted.
const KEPT: usize = 1000;
/// Maximum number of entries of a train's directories that are checked, all layers together.
const ENTRY_LIMIT: u64 = 2_000_000;
/// Maximum length of a wrapped key, in bytes: that of a 16384-bit RSA key.
const USER_KEY_LIMIT: u64 = 2048;

/// An entry that must not leave the station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspectFile {
    /// The rule that it breaks.
    pub rule: Rule,
    /// Path from the image's root, in its untrusted form.
    pub path: Vec<u8>,
    /// The reason.
    pub why: &'static str,
}

/// Findings in one layer.
#[derive(Debug, Default)]
pub struct LayerScan {
    /// Entries that must not be in any layer: at most 1000.
    pub suspects: Vec<SuspectFile>,
    /// Number of such entries.
    pub suspect_count: u64,
    /// Files of the train that are too short for checks other than that of their length.
    pub too_short: u64,
    /// Entries outside `/opt`: at most 1000.
    outside: Vec<Vec<u8>>,
    outside_count: u64,
    others: HashSet<OtherEntry>,
    /// Memory of the whole scan, counted in the budget. The first layer holds it.
    share: Share,
}

/// An entry of `/opt` that is not the train's. It may be the base's, if the base has an identical one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OtherEntry {
    path: Vec<u8>,
    link: Option<Vec<u8>>,
    content: Option<Sha256Digest>,
}

impl LayerScan {
    /// As [`LayerScan::suspect`], and counts the memory of the entry.
    fn find(&mut self, share: &mut Share, rule: Rule, path: &[u8], why: &'static str) -> Result<(), ImageError> {
        if self.suspects.len() < KEPT {
            share.entry::<SuspectFile>(path.len())?;
        }
        self.suspect(rule, path, why);
        Ok(())
    }

    fn suspect(&mut self, rule: Rule, path: &[u8], why: &'static str) {
        self.suspect_count += 1;
        if self.suspects.len() < KEPT {
            self.suspects.push(SuspectFile { rule, path: path.to_vec(), why });
        }
    }
}

/// Scans the archive of one image and returns the findings, lowest layer first. If given, `expected` must match its layers:
/// digests of their archives (`sha256:…`), lowest first. `progress` receives the number of bytes read so far.
pub fn scan_layers(
    place: ImageInput<'_>,
    expected: Option<&[String]>,
    progress: impl FnMut(u64),
    check: &dyn Fn() -> Result<(), ImageError>,
) -> Result<Vec<LayerScan>, ImageError> {
    let mut scanner = Scanner { layers: HashMap::new(), shape: Shape::default(), entries: 0, share: Share::default(), check };
    let order = place.read(expected, &mut scanner, progress)?;
    // A repeated layer is reported at its first place; its content is the same.
    let mut scans: Vec<_> = order.layers.iter().map(|name| scanner.layers.remove(name).unwrap_or_default()).collect();
    if let Some(first) = scans.first_mut() {
        first.share = scanner.share;
    }
    Ok(scans)
}

/// Adds entries that are suspect only because the base does not have them: in layers above `base`, those outside `/opt`, and
/// those inside that are neither the train's nor also in the base.
pub fn compare_with_base(layers: &mut [LayerScan], base: usize) {
    let (below, above) = layers.split_at_mut(base);
    let of_base: HashSet<OtherEntry> = below.iter_mut().flat_map(|layer| std::mem::take(&mut layer.others)).collect();
    for layer in above {
        let mut unexpected: Vec<OtherEntry> = layer.others.drain().filter(|other| !of_base.contains(other)).collect();
        unexpected.sort_by(|one, other| one.path.cmp(&other.path));
        for entry in unexpected {
            layer.suspect(Rule::OptAllowList, &entry.path, "it is neither the train's nor its base's");
        }
        let outside = std::mem::take(&mut layer.outside);
        layer.suspect_count += layer.outside_count - outside.len() as u64;
        for path in outside {
            layer.suspect(Rule::NoPlaintextLayers, &path, "it is outside /opt, and not in the base's layers");
        }
    }
}

/// Returns the number of entries of `/opt` that are not the train's.
pub fn others(layers: &[LayerScan]) -> usize {
    layers.iter().map(|layer| layer.others.len()).sum()
}

struct Scanner<'a> {
    layers: HashMap<String, LayerScan>,
    shape: Shape,
    entries: u64,
    share: Share,
    check: &'a dyn Fn() -> Result<(), ImageError>,
}

impl LayerSink for Scanner<'_> {
    type Error = ImageError;

    fn entry(&mut self, layer: &str, entry: &TarEntry, content: &mut dyn Read) -> Result<(), ImageError> {
        (self.check)()?;
        let Some(path) = plain_path(&entry.path)? else { return Ok(()) };
        self.entries += 1;
        if self.entries > ENTRY_LIMIT {
            return Err(ImageError::Limit("entries of an image"));
        }
        if !self.layers.contains_key(layer) {
            self.layers.insert(layer.to_owned(), LayerScan::default());
        }
        let (shape, check, share) = (&mut self.shape, self.check, &mut self.share);
        let Some(scan) = self.layers.get_mut(layer) else { return Ok(()) };
        let regular = entry.is_file();
        if path.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.starts_with(WHITEOUT.as_bytes())) {
            if entry.size > 0 {
                scan.find(share, Rule::NoPlaintextLayers, &path, "its name is a mark of layers, and it has a content")?;
            }
            return Ok(());
        }
        let Some(below) = path.strip_prefix(b"opt/") else {
            if entry.size > 0 {
                scan.outside_count += 1;
                if scan.outside.len() < KEPT {
                    share.take(2 * path.len())?;
                    scan.outside.push(path);
                }
            }
            return Ok(());
        };
        if entry.kind == EntryType::Directory {
            return Ok(());
        }
        let area = [TrainDir::Train, TrainDir::Results].iter().find(|area| {
            below.strip_prefix(area.name().as_bytes()).is_some_and(|rest| rest.first().is_none_or(|next| *next == b'/'))
        });
        match (area, below) {
            (Some(_), _) if !regular => scan.find(share, Rule::NoLinks, &path, "it is a link or a special file")?,
            (Some(_), _) => match looks(content, shape, check)? {
                ShapeVerdict::NotSealed(why) => scan.find(share, Rule::NoPlaintextLayers, &path, why)?,
                ShapeVerdict::TooShortToTell => scan.too_short += 1,
                ShapeVerdict::Sealed => {}
            },
            (None, b"train_config.json") if regular => {
                if entry.size > CONFIG_LIMIT || !is_config(content)? {
                    scan.find(share, Rule::NoPlaintextLayers, &path, "it is no train config")?;
                }
            }
            (None, b"user_sym_key.key") if regular => {
                let whole_blocks = has_whole_blocks(entry.size);
                let too_long = entry.size > USER_KEY_LIMIT;
                let looks = looks(content, shape, check)?;
                // Keys of unusual sizes have lengths that sealed files cannot have.
                if too_long || whole_blocks && matches!(looks, ShapeVerdict::NotSealed(_)) {
                    scan.find(share, Rule::NoPlaintextLayers, &path, "it is no wrapped key")?;
                }
            }
            _ => {
                share.entry::<OtherEntry>(path.len() + entry.link.len())?;
                let link = (!entry.link.is_empty()).then(|| entry.link.clone());
                let content = if regular { Some(digest(content, check)?) } else { None };
                scan.others.insert(OtherEntry { path, link, content });
            }
        }
        Ok(())
    }
}

fn each_chunk(
    content: &mut dyn Read,
    check: &dyn Fn() -> Result<(), ImageError>,
    mut each: impl FnMut(&[u8]),
) -> Result<(), ImageError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        check()?;
        match content.read(&mut buffer).map_err(ImageError::from_io)? {
            0 => return Ok(()),
            n => each(&buffer[..n]),
        }
    }
}

fn looks(
    content: &mut dyn Read,
    shape: &mut Shape,
    check: &dyn Fn() -> Result<(), ImageError>,
) -> Result<ShapeVerdict, ImageError> {
    each_chunk(content, check, |bytes| shape.update(bytes))?;
    Ok(shape.verdict())
}

fn digest(content: &mut dyn Read, check: &dyn Fn() -> Result<(), ImageError>) -> Result<Sha256Digest, ImageError> {
    let mut hasher = FileHasher::new();
    each_chunk(content, check, |bytes| hasher.update(bytes))?;
    Ok(hasher.finish())
}

fn is_config(content: &mut dyn Read) -> Result<bool, ImageError> {
    let mut text = Vec::new();
    content.read_to_end(&mut text).map_err(ImageError::from_io)?;
    Ok(TrainConfig::parse(&text).is_ok())
}

#[cfg(test)]
mod tests;
