//! What lies in a train: names, lengths and what does not belong there.

use std::collections::BTreeMap;

use crate::train::{
    envelope::{Verdict, has_sealed_len},
    names::FilePath,
    rule::Rule,
};

/// Names that a note gives as examples.
const EXAMPLES: usize = 3;
/// Longest example, in characters.
const EXAMPLE_LENGTH: usize = 100;

/// Names that something holds for: some as examples, all counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    examples: Vec<String>,
    count: u64,
}

impl Names {
    /// Adds a name, as untrusted as it comes.
    pub fn add(&mut self, name: &[u8]) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            let mut example: String = String::from_utf8_lossy(name).chars().flat_map(char::escape_default).collect();
            if example.len() > EXAMPLE_LENGTH {
                // What `escape_default` makes is ASCII.
                example.truncate(EXAMPLE_LENGTH);
                example.push_str("...");
            }
            self.examples.push(example);
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `3 files: a, b, c`, in the words for one of them or for many.
    #[must_use]
    pub fn reported(&self, one: &str, many: &str) -> String {
        let what = if self.count == 1 { one } else { many };
        let more = if self.count > self.examples.len() as u64 { ", ..." } else { "" };
        format!("{} {what}: {}{more}", self.count, self.examples.join(", "))
    }
}

/// One of a train's two directories, as it lies there.
#[derive(Clone, Debug, Default)]
pub struct FoundDirectory {
    /// Whether the directory itself is there.
    pub is_there: bool,
    /// Everything below it, and whether it is a regular file.
    entries: Vec<(FilePath, bool)>,
}

impl FoundDirectory {
    /// A directory below.
    pub fn directory(&mut self, path: FilePath) {
        self.entries.push((path, false));
    }

    /// The regular files.
    pub fn files(&self) -> impl Iterator<Item = &FilePath> {
        self.entries.iter().filter(|(_, is_file)| *is_file).map(|(path, _)| path)
    }

    /// Whether a regular file of this name is there. Needs [`Found::complete`].
    pub(super) fn has_file(&self, path: &FilePath) -> bool {
        let at = self.entries.partition_point(|(known, _)| known < path);
        self.entries[at..].iter().take_while(|(known, _)| known == path).any(|(_, is_file)| *is_file)
    }
}

/// What lies in a train, as far as it shows without a key.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// `pht_train`.
    pub code: FoundDirectory,
    /// `pht_results`.
    pub results: FoundDirectory,
    /// Whether this is only what the extractor delivers, which leaves the code behind.
    pub without_code: bool,
    /// The content of `user_sym_key.key`, where it is there.
    pub user_key: Option<Vec<u8>>,
    /// Other entries.
    pub others: Names,
    /// Whether names came in another order than an engine gives them.
    pub out_of_order: bool,
    breaches: BTreeMap<Rule, Names>,
    wrong_length: Names,
    plain: Names,
    too_short: u64,
}

impl Found {
    /// Something that breaks a rule by being there.
    pub fn breach(&mut self, rule: Rule, name: &[u8]) {
        self.breaches.entry(rule).or_default().add(name);
    }

    /// What broke a rule by being there.
    #[must_use]
    pub fn broken_by(&self, rule: Rule) -> Option<&Names> {
        self.breaches.get(&rule)
    }

    /// A regular file of `pht_train` (`code`) or `pht_results`, of `size` bytes, and what it looks like.
    pub fn file(&mut self, code: bool, path: FilePath, size: u64, looks: Verdict) {
        let (directory, area) = if code { (&mut self.code, "pht_train") } else { (&mut self.results, "pht_results") };
        let name = || format!("{area}/{path}").into_bytes();
        match looks {
            _ if !has_sealed_len(size) => self.wrong_length.add(&name()),
            Verdict::NotSealed(_) => self.plain.add(&name()),
            Verdict::TooShortToTell => self.too_short += 1,
            Verdict::Sealed => {}
        }
        directory.entries.push((path, true));
    }

    /// Files that do not have the length of sealed ones.
    #[must_use]
    pub fn wrong_length(&self) -> &Names {
        &self.wrong_length
    }

    /// Files that have it, and whose content does not look sealed.
    #[must_use]
    pub fn plain(&self) -> &Names {
        &self.plain
    }

    /// How many files are too short for more than their length to be looked at.
    #[must_use]
    pub fn too_short(&self) -> u64 {
        self.too_short
    }

    /// Sorts what was found, and finds what is there twice.
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
