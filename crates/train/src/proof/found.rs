//! Inventory of a train's files: names, lengths, and entries that do not belong there.

use std::collections::BTreeMap;

use crate::{
    envelope::{ShapeVerdict, has_sealed_len},
    names::FilePath,
    rule::Rule,
};

/// Number of names listed as examples.
const EXAMPLES: usize = 3;
/// Maximum length of an example, in characters.
const EXAMPLE_LENGTH: usize = 100;

/// A counted set of names, with some of them as examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSample {
    examples: Vec<String>,
    count: u64,
}

impl NameSample {
    /// Adds a name in its untrusted form.
    pub fn add(&mut self, name: &[u8]) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            let mut example: String = String::from_utf8_lossy(name).chars().flat_map(char::escape_default).collect();
            if example.len() > EXAMPLE_LENGTH {
                // The output of `escape_default` is ASCII.
                example.truncate(EXAMPLE_LENGTH);
                example.push_str("...");
            }
            self.examples.push(example);
        }
    }

    /// Whether there are no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns `3 files: a, b, c`, with the singular or plural noun.
    #[must_use]
    pub fn reported(&self, one: &str, many: &str) -> String {
        let what = if self.count == 1 { one } else { many };
        let more = if self.count > self.examples.len() as u64 { ", ..." } else { "" };
        format!("{} {what}: {}{more}", self.count, self.examples.join(", "))
    }
}

/// One of a train's two directories, as found.
#[derive(Clone, Debug, Default)]
pub struct FoundDirectory {
    /// Whether the directory itself exists.
    pub is_there: bool,
    /// Everything below it, each with whether it is a regular file.
    entries: Vec<(FilePath, bool)>,
}

impl FoundDirectory {
    /// Adds a subdirectory.
    pub fn directory(&mut self, path: FilePath) {
        self.entries.push((path, false));
    }

    /// Returns the regular files.
    pub fn files(&self) -> impl Iterator<Item = &FilePath> {
        self.entries.iter().filter(|(_, is_file)| *is_file).map(|(path, _)| path)
    }

    /// Whether a regular file of this name exists. Requires [`Found::complete`].
    pub(super) fn has_file(&self, path: &FilePath) -> bool {
        let at = self.entries.partition_point(|(known, _)| known < path);
        self.entries[at..].iter().take_while(|(known, _)| known == path).any(|(_, is_file)| *is_file)
    }
}

/// Contents of a train, as far as they are visible without a key.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// `pht_train`.
    pub code: FoundDirectory,
    /// `pht_results`.
    pub results: FoundDirectory,
    /// Whether this is only the extractor's output, which omits the code.
    pub without_code: bool,
    /// The content of `user_sym_key.key`, if it exists.
    pub user_key: Option<Vec<u8>>,
    /// Other entries.
    pub others: NameSample,
    /// Whether names came in another order than an engine's.
    pub out_of_order: bool,
    breaches: BTreeMap<Rule, NameSample>,
    wrong_length: NameSample,
    plain: NameSample,
    too_short: u64,
}

impl Found {
    /// Adds an entry whose existence breaks a rule.
    pub fn breach(&mut self, rule: Rule, name: &[u8]) {
        self.breaches.entry(rule).or_default().add(name);
    }

    /// Returns the entries whose existence breaks a rule.
    #[must_use]
    pub fn broken_by(&self, rule: Rule) -> Option<&NameSample> {
        self.breaches.get(&rule)
    }

    /// Adds a regular file of `pht_train` (`code`) or `pht_results`, of `size` bytes, with its shape.
    pub fn file(&mut self, code: bool, path: FilePath, size: u64, looks: ShapeVerdict) {
        let (directory, area) = if code { (&mut self.code, "pht_train") } else { (&mut self.results, "pht_results") };
        let name = || format!("{area}/{path}").into_bytes();
        match looks {
            _ if !has_sealed_len(size) => self.wrong_length.add(&name()),
            ShapeVerdict::NotSealed(_) => self.plain.add(&name()),
            ShapeVerdict::TooShortToTell => self.too_short += 1,
            ShapeVerdict::Sealed => {}
        }
        directory.entries.push((path, true));
    }

    /// Returns the files that do not have the length of sealed ones.
    #[must_use]
    pub fn wrong_length(&self) -> &NameSample {
        &self.wrong_length
    }

    /// Returns the files that have the length of sealed ones, but whose content does not look sealed.
    #[must_use]
    pub fn plain(&self) -> &NameSample {
        &self.plain
    }

    /// Returns the number of files that are too short for checks other than that of their length.
    #[must_use]
    pub fn too_short(&self) -> u64 {
        self.too_short
    }

    /// Sorts the entries and detects duplicates.
    pub(super) fn complete(&mut self) {
        for (area, directory) in [("pht_train", &mut self.code), ("pht_results", &mut self.results)] {
            directory.entries.sort();
            for pair in directory.entries.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                let name = format!("{area}/{}", pair[0].0);
                self.breaches.entry(Rule::UniqueNames).or_default().add(name.as_bytes());
            }
        }
    }
}
