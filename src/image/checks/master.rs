//! Whether an image is its master with nothing but a train in it.
//!
//! The layers that the two share are settled by their digests; what the layers above do is held against what stood there before: type, content,
//! link target, mode, owner, extended attributes. So one pass over one image will do, and an entry that a layer writes again as it was is no
//! difference. The configuration is compared field by field.

pub mod config;
pub mod files;
pub mod train_lib;

use std::io::Read;

pub use self::{
    config::{compare as compare_configs, compare_platforms},
    train_lib::{Seen, Verdict as TrainLibVerdict},
};
use crate::image::{
    ImageError,
    archive::{
        reader::{LayerSink, SavedImage},
        source::ImageInput,
    },
    filesystem::layers::Layers,
    tar::reader::TarEntry,
};

/// Most differences that are kept; the rest is counted.
const KEPT: usize = 1000;

/// What an image is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRule {
    /// Its layers begin with the master's.
    LayersOfMaster,
    /// What the layers above change is the train's alone.
    FileTree,
    /// Its configuration and the machine it runs on are the master's, but for the command and labels.
    ImageConfig,
    /// Its command is a program with plain arguments.
    CommandShape,
}

impl ImageRule {
    /// Every one, in the order of reports.
    pub const ALL: [Self; 4] = [Self::LayersOfMaster, Self::FileTree, Self::ImageConfig, Self::CommandShape];

    /// Its name in reports.
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
    /// A path from the image's root, as untrusted as it comes, or a field of the configuration.
    pub place: Vec<u8>,
    /// What the master has.
    pub expected: String,
    /// What the image has.
    pub found: String,
}

impl Difference {
    fn of_tree(what: &'static str, path: &[u8], expected: String, found: String) -> Self {
        Self { rule: ImageRule::FileTree, what, place: path.to_vec(), expected, found }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Differences {
    /// At most 1000.
    pub kept: Vec<Difference>,
    /// How many there are, by rule.
    counts: [u64; ImageRule::ALL.len()],
}

impl Differences {
    /// Adds one.
    pub fn add(&mut self, difference: Difference) {
        self.counts[difference.rule as usize] += 1;
        if self.kept.len() < KEPT {
            self.kept.push(difference);
        }
    }

    /// Adds those of another look, as far as they can be kept.
    pub fn append(&mut self, others: Self) {
        self.counts.iter_mut().zip(others.counts).for_each(|(count, more)| *count += more);
        let room = KEPT - self.kept.len();
        self.kept.extend(others.kept.into_iter().take(room));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many break a rule.
    #[must_use]
    pub fn breaking(&self, rule: ImageRule) -> u64 {
        self.counts[rule as usize]
    }
}

/// Reads an image for what its files say of it. Its layers are read to prove their digests.
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

/// What train_lib sees of an image. Where the engine names the image's layers, they must be those.
pub fn seen(place: ImageInput<'_>, layers: Option<&[String]>) -> Result<Seen, ImageError> {
    let mut read = Layers::default();
    let image = place.read(layers, &mut read, |_| {})?;
    Seen::of(&read, &image)
}

/// Reads an image, and holds what the layers above the lowest `shared` do against what is below. Where the engine names the image's layers, they
/// must be those. `seen` gets what train_lib would see.
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
