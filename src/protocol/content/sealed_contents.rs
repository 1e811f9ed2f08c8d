//! Sealed content of a train as it was read: ciphertext in the spool, indexed by path.

use std::collections::BTreeSet;

use stationmaster_image::{
    ImageError,
    archive::memory_budget::Share,
    disk::spool::{Extent, Spool},
    opt::train_dirs::TrainDir,
    tar::{
        entry::{EntryPath, FileAttrs},
        layer_writer::LayerPlan,
    },
};
use stationmaster_train::{
    envelope::{EnvelopeKey, Opener, TAIL_LEN, opened_len},
    names::FilePath,
    rule::Rule,
};

use crate::protocol::context::{error::StepError, rule_log::RuleLog};

/// Maximum number of skipped names that are kept for the response.
const NAMES_KEPT: usize = 1000;
/// Maximum number of names directly below `/opt` in addition to the train's own.
const OTHER_LIMIT: usize = 10_000;
/// Buffer size in bytes.
const BUFFER: usize = 256 * 1024;

/// The rules that readers of `/opt` and of a working directory enforce on every entry.
pub(in crate::protocol) const OF_READING: [Rule; 3] = [Rule::PlainNames, Rule::UniqueNames, Rule::NoLinks];

/// A sealed file in the spool.
#[derive(Debug)]
pub(in crate::protocol) struct StoredFile {
    pub path: FilePath,
    pub meta: FileAttrs,
    pub extent: Extent,
}

/// One of the train's two directories.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Tree {
    /// Attributes of the directory itself; `None` if the image has none.
    pub root: Option<FileAttrs>,
    /// Directories below it, parents first.
    pub directories: Vec<(FilePath, FileAttrs)>,
    /// Files in the engine's order.
    pub files: Vec<StoredFile>,
}

impl Tree {
    /// Returns a file by its path.
    pub(crate) fn file(&self, path: &FilePath) -> Option<&StoredFile> {
        // The reader accepts names in rising order only.
        self.files.binary_search_by(|file| file.path.cmp(path)).ok().map(|i| &self.files[i])
    }
}

/// The complete content of a train.
#[derive(Debug)]
pub(in crate::protocol) struct Contents {
    pub spool: Spool,
    pub train: Tree,
    pub results: Tree,
    /// Other entries of `/opt`, as paths below it, up to a limit.
    pub others: Vec<String>,
    /// The names directly below `/opt` of these entries, without that limit.
    pub other_names: BTreeSet<String>,
    /// Memory that the names take from the budget.
    share: Share,
}

impl Contents {
    pub(crate) fn new(spool: Spool) -> Self {
        Self {
            spool,
            train: Tree::default(),
            results: Tree::default(),
            others: Vec::new(),
            other_names: BTreeSet::new(),
            share: Share::default(),
        }
    }

    fn tree_mut(&mut self, area: TrainDir) -> &mut Tree {
        match area {
            TrainDir::Train => &mut self.train,
            TrainDir::Results => &mut self.results,
        }
    }

    /// Counts a name that is about to be kept, and the memory for its later uses: the plan of a layer, digests, a response.
    pub(crate) fn count(&mut self, name: usize) -> Result<(), StepError> {
        Ok(self.share.entry::<(StoredFile, [u8; 64])>(2 * name)?)
    }

    pub(crate) fn directory(&mut self, area: TrainDir, path: Option<FilePath>, meta: FileAttrs) -> Result<(), StepError> {
        self.count(path.as_ref().map_or(0, |path| path.as_str().len()))?;
        let tree = self.tree_mut(area);
        match path {
            None => tree.root = Some(meta),
            Some(path) => tree.directories.push((path, meta)),
        }
        Ok(())
    }

    pub(crate) fn file(&mut self, area: TrainDir, file: StoredFile) -> Result<(), StepError> {
        self.count(file.path.as_str().len())?;
        self.tree_mut(area).files.push(file);
        Ok(())
    }

    /// Notes an entry that is neither content nor one of the protocol's own two files.
    pub(crate) fn other(&mut self, path: &str) -> Result<(), StepError> {
        if matches!(path, "train_config.json" | "user_sym_key.key") {
            return Ok(());
        }
        if self.others.len() < NAMES_KEPT {
            self.count(path.len())?;
            self.others.push(path.to_owned());
        }
        let name = path.split('/').next().unwrap_or(path);
        if !self.other_names.contains(name) {
            if self.other_names.len() == OTHER_LIMIT {
                return Err(ImageError::Limit("names in /opt").into());
            }
            let name = name.to_owned();
            self.count(name.len())?;
            self.other_names.insert(name);
        }
        Ok(())
    }

    /// Checks that both directories exist.
    pub(crate) fn complete(&self, rules: &RuleLog) -> Result<(), StepError> {
        if self.train.root.is_none() || self.results.root.is_none() {
            return Err(StepError::rule(Rule::BothDirectories, ""));
        }
        rules.checked(Rule::BothDirectories);
        Ok(())
    }

    /// Opens a file and passes its plaintext on in pieces. Pieces passed on before an error must not be trusted.
    pub(crate) fn open_file(
        &self,
        key: &EnvelopeKey,
        extent: Extent,
        mut each: impl FnMut(&[u8]) -> Result<(), StepError>,
    ) -> Result<(), StepError> {
        let mut opener = Opener::new(key);
        let mut buffer = vec![0; BUFFER.min(extent.len as usize)];
        let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(buffer.len() + 32));
        self.spool.stream(extent, &mut buffer, |sealed| {
            plain.clear();
            opener.update(sealed, &mut plain).map_err(StepError::untrusted)?;
            each(&plain)
        })?;
        plain.clear();
        opener.finish(&mut plain).map_err(StepError::untrusted)?;
        each(&plain)
    }

    /// Returns the length of a sealed file's plaintext.
    pub(crate) fn opened_len(&self, key: &EnvelopeKey, extent: Extent) -> Result<u64, StepError> {
        let mut last = [0; TAIL_LEN];
        let start =
            extent.len.checked_sub(last.len() as u64).ok_or_else(|| StepError::untrusted("a sealed file is too short"))?;
        self.spool.read(extent.offset + start, &mut last)?;
        opened_len(extent.len, key, &last).map_err(StepError::untrusted)
    }
}

/// Source of a file in a new layer.
#[derive(Debug)]
pub(in crate::protocol) enum Content {
    /// Bytes of the spool, unchanged.
    Sealed(Extent),
    /// Bytes of the spool, opened.
    Opened(Extent),
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

impl Content {
    /// Passes the content's bytes on.
    pub(crate) fn write(
        &self,
        contents: &Contents,
        key: &EnvelopeKey,
        each: &mut dyn FnMut(&[u8]) -> Result<(), StepError>,
    ) -> Result<(), StepError> {
        match self {
            Self::Bytes(bytes) => each(bytes),
            Self::Sealed(extent) => contents.spool.stream(*extent, &mut vec![0; BUFFER.min(extent.len as usize)], each),
            Self::Opened(extent) => contents.open_file(key, *extent, each),
        }
    }
}

/// Plans a directory: its own directories and `files`. In a layer it is `opaque`: it replaces the content of lower layers there.
pub(in crate::protocol) fn plan_tree<'a>(
    plan: &mut LayerPlan<'a, Content>,
    area: TrainDir,
    opaque: bool,
    tree: &'a Tree,
    files: impl Iterator<Item = &'a StoredFile>,
    meta: impl Fn(&StoredFile) -> FileAttrs,
    content: impl Fn(&StoredFile) -> Result<(u64, Content), StepError>,
) -> Result<(), StepError> {
    let root = tree.root.ok_or(StepError::Invariant("a tree without its directory"))?;
    plan.directory(area.path(), root, opaque);
    for (path, meta) in &tree.directories {
        plan.directory(EntryPath::new(area.path(), path.as_str()), *meta, false);
    }
    plan.reserve(tree.directories.len() + files.size_hint().1.unwrap_or(0));
    for file in files {
        let (size, source) = content(file)?;
        plan.file(EntryPath::new(area.path(), file.path.as_str()), meta(file), size, source);
    }
    Ok(())
}
