//! Validates an image against its master: it may add only a train.
//!
//! The layers that both share are compared by digest. The changes of the layers above are compared with the previous entry at the
//! same path: type, content, link target, mode, owner, extended attributes. So one pass over one image is enough, and an entry
//! that a layer writes again unchanged is not a difference. The configuration is compared field by field.

pub mod config;
pub mod files;
pub mod train_lib;

use std::io::Read;

pub use self::{
    config::{compare as compare_configs, compare_platforms},
    train_lib::{Seen, Verdict as TrainLibVerdict},
};
use crate::{
    ImageError,
    archive::{layer_sink::LayerSink, reader::SavedImage, source::ImageInput},
    filesystem::layers::Layers,
    tar::reader::TarEntry,
};

/// Maximum number of differences that are kept; the rest is counted.
const KEPT: usize = 1000;

/// Rules for an image derived from a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRule {
    /// Its layers begin with the master's.
    LayersOfMaster,
    /// The layers above change only the train's files.
    FileTree,
    /// Its configuration and platform are the master's, except for the command and labels.
    ImageConfig,
    /// Its command is a program with plain arguments.
    CommandShape,
}

impl ImageRule {
    /// All rules, in the order of reports.
    pub const ALL: [Self; 4] = [Self::LayersOfMaster, Self::FileTree, Self::ImageConfig, Self::CommandShape];

    /// Returns the name used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LayersOfMaster => "layers-of-master",
            Self::FileTree => "file-tree",
            Self::ImageConfig => "image-config",
            Self::CommandShape => "command-shape",
        }
    }
}

/// One difference between an image and its master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The rule that it breaks.
    pub rule: ImageRule,
    /// What differs: `added`, `removed`, `type`, `content`, `link-target`, `device`, `mode`, `owner`, `xattrs`, `config`.
    pub what: &'static str,
    /// A path from the image's root, in its untrusted form, or a field of the configuration.
    pub place: Vec<u8>,
    /// The master's value.
    pub expected: String,
    /// The image's value.
    pub found: String,
}

impl Difference {
    fn of_tree(what: &'static str, path: &[u8], expected: String, found: String) -> Self {
        Self { rule: ImageRule::FileTree, what, place: path.to_vec(), expected, found }
    }
}

/// The differences found.
#[derive(Debug, Default)]
pub struct Differences {
    /// At most 1000 differences.
    pub kept: Vec<Difference>,
    /// Number of differences by rule.
    counts: [u64; ImageRule::ALL.len()],
}

impl Differences {
    /// Adds a difference.
    pub fn add(&mut self, difference: Difference) {
        self.counts[difference.rule as usize] += 1;
        if self.kept.len() < KEPT {
            self.kept.push(difference);
        }
    }

    /// Adds the differences of another check, up to the maximum.
    pub fn append(&mut self, others: Self) {
        self.counts.iter_mut().zip(others.counts).for_each(|(count, more)| *count += more);
        let room = KEPT - self.kept.len();
        self.kept.extend(others.kept.into_iter().take(room));
    }

    /// Returns the number of differences.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the number of differences that break a rule.
    #[must_use]
    pub fn breaking(&self, rule: ImageRule) -> u64 {
        self.counts[rule as usize]
    }
}

/// Reads an image and returns its description. Its layers are read to verify their digests.
pub fn describe(place: ImageInput<'_>) -> Result<SavedImage, ImageError> {
    struct NullSink;
    impl LayerSink for NullSink {
        type Error = ImageError;
        fn entry(&mut self, _: &str, _: &TarEntry, _: &mut dyn Read) -> Result<(), ImageError> {
            Ok(())
        }
    }
    place.read(None, &mut NullSink, |_| {})
}

/// Returns train_lib's view of an image. If the engine names the image's layers, the image must have those.
pub fn seen(place: ImageInput<'_>, layers: Option<&[String]>) -> Result<Seen, ImageError> {
    let mut read = Layers::default();
    let image = place.read(layers, &mut read, |_| {})?;
    Seen::of(&read, &image)
}

/// Reads an image, and compares the changes of the layers above the lowest `shared` with the entries below. If the engine names
/// the image's layers, the image must have those. `seen` receives train_lib's view.
pub fn compare_trees(
    place: ImageInput<'_>,
    layers: Option<&[String]>,
    shared: impl FnOnce(&SavedImage) -> usize,
    seen: Option<&mut Seen>,
    progress: impl FnMut(u64),
) -> Result<(Differences, SavedImage), ImageError> {
    let mut read = Layers::default();
    let image = place.read(layers, &mut read, progress)?;
    if let Some(seen) = seen {
        *seen = Seen::of(&read, &image)?;
    }
    let shared = shared(&image);
    let overlaid = read.overlay(&image.layers, shared)?;
    Ok((files::compare(&overlaid), image))
}

#[cfg(test)]
mod tests;
