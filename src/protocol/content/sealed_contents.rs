//! A train's content as it was read: ciphertext in the spool, found by name.

use std::collections::BTreeSet;

use crate::{
    image::{
        ImageError,
        archive::memory_budget::Share,
        disk::spool::{Extent, Spool},
        opt::reader::TrainDir,
        tar::layer_writer::{EntryPath, FileAttrs, LayerPlan},
    },
    protocol::StepError,
    train::{
        envelope::{EnvelopeKey, Opener, opened_len},
        names::FilePath,
    },
};

/// Most skipped names that are kept for the answer.
const NAMES_KEPT: usize = 1000;
/// Most names directly below `/opt` besides the train's own.
const OTHER_LIMIT: usize = 10_000;
/// Bytes handled at a time.
const BUFFER: usize = 256 * 1024;

/// A sealed file in the spool.
#[derive(Debug)]
pub(in crate::protocol) struct StoredFile {
    pub path: FilePath,
    pub meta: FileAttrs,
    pub extent: Extent,
}

/// One of the two directories.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Tree {
    /// The directory itself; `None` when the image has none.
    pub root: Option<FileAttrs>,
    /// Directories below it, parents first.
    pub directories: Vec<(FilePath, FileAttrs)>,
    /// Files in the engine's order.
    pub files: Vec<StoredFile>,
}

impl Tree {
    /// A file by its path.
    pub fn file(&self, path: &FilePath) -> Option<&StoredFile> {
        // The reader let names through in rising order only.
        self.files.binary_search_by(|file| file.path.cmp(path)).ok().map(|i| &self.files[i])
    }
}

/// All of a train's content.
#[derive(Debug)]
pub(in crate::protocol) struct Contents {
    pub spool: Spool,
    pub train: Tree,
    pub results: Tree,
    /// Other entries of `/opt`, by path below it.
    pub others: Vec<String>,
    /// The same, only the names directly below it, and all of them.
    pub other_names: BTreeSet<String>,
    /// What the names take of the budget.
    share: Share,
}

impl Contents {
    pub fn new(spool: Spool) -> Self {
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

    /// Counts a name that is about to be kept, with what is made of it later: the plan of a layer, digests, an answer.
    pub fn count(&mut self, name: usize) -> Result<(), StepError> {
        Ok(self.share.entry::<(StoredFile, [u8; 64])>(2 * name)?)
    }

    pub fn directory(&mut self, area: TrainDir, path: Option<FilePath>, meta: FileAttrs) -> Result<(), StepError> {
        self.count(path.as_ref().map_or(0, |path| path.as_str().len()))?;
        let tree = self.tree_mut(area);
        match path {
            None => tree.root = Some(meta),
            Some(path) => tree.directories.push((path, meta)),
        }
        Ok(())
    }

    pub fn file(&mut self, area: TrainDir, file: StoredFile) -> Result<(), StepError> {
        self.count(file.path.as_str().len())?;
        self.tree_mut(area).files.push(file);
        Ok(())
    }

    /// Notes an entry that is neither content nor one of the protocol's own two files.
    pub fn other(&mut self, path: &str) -> Result<(), StepError> {
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

    /// Both directories must be there.
    pub fn complete(&self) -> Result<(), StepError> {
        if self.train.root.is_none() || self.results.root.is_none() {
            return Err(ImageError::Policy { rule: "both-directories-present", detail: String::new() }.into());
        }
        Ok(())
    }

    /// Opens a file and hands its plaintext on, piece by piece. What was handed on before an error must not be believed.
    pub fn open_file(
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

    /// The length of a sealed file's plaintext.
    pub fn opened_len(&self, key: &EnvelopeKey, extent: Extent) -> Result<u64, StepError> {
        let mut last = [0; 32];
        let start =
            extent.len.checked_sub(last.len() as u64).ok_or_else(|| StepError::untrusted("a sealed file is too short"))?;
        self.spool.read(extent.offset + start, &mut last)?;
        opened_len(extent.len, key, &last).map_err(StepError::untrusted)
    }
}

/// Where a file of a new layer comes from.
#[derive(Debug)]
pub(in crate::protocol) enum Content {
    /// The spool's bytes as they are.
    Sealed(Extent),
    /// The spool's bytes, opened.
    Opened(Extent),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Content {
    /// Hands the content's bytes on.
    pub fn write(
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

/// Plans a directory: its own directories and `files`. As a layer's it is `opaque`: it replaces what lower layers hold there.
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
