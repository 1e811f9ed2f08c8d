//! Selects files of a train by paths or glob patterns.

use std::fmt;

use super::names::FilePath;

/// Maximum number of patterns.
const MAX_PATTERNS: usize = 64;
/// Maximum length of all patterns together, in bytes.
const MAX_BYTES: usize = 8192;
/// Component that matches any number of components.
const ANY_DEPTH: &str = "**";

/// A selection of files by path: all files, or those that match one of the patterns.
///
/// A pattern is a path of components. `*` in a component matches any characters, `?` matches one, and a component `**` matches
/// any number of components. A pattern that matches a directory selects everything below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection(Vec<String>);

/// Error: a pattern cannot be used. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// No file can have such a name: it is empty, absolute or climbs, or contains control characters.
    #[error("a pattern is a plain path below the results, such as `tables/*.csv`")]
    NotPlain,
    /// More than 64 patterns, or more than 8192 bytes of them.
    #[error("at most {MAX_PATTERNS} patterns, of {MAX_BYTES} bytes altogether")]
    TooMany,
}

impl Selection {
    /// Reads patterns. An empty list selects everything. A trailing slash is ignored.
    ///
    /// # Errors
    /// [`SelectionError`].
    pub fn new(patterns: &[String]) -> Result<Self, SelectionError> {
        if patterns.len() > MAX_PATTERNS || patterns.iter().map(String::len).sum::<usize>() > MAX_BYTES {
            return Err(SelectionError::TooMany);
        }
        let plain = |pattern: &String| {
            let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
            FilePath::new(pattern).map(|_| pattern.to_owned()).map_err(|_| SelectionError::NotPlain)
        };
        patterns.iter().map(plain).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the patterns; an empty list selects everything.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// Whether a file is selected.
    #[must_use]
    pub fn contains(&self, path: &FilePath) -> bool {
        let components: Vec<&str> = path.as_str().split('/').collect();
        self.0.is_empty() || self.0.iter().any(|pattern| is_named(pattern, &components))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Whether the pattern matches the path, or one of its parent directories.
fn is_named(pattern: &str, path: &[&str]) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let is_component = |pattern: &&str, component: &&str| {
        let (pattern, component): (Vec<char>, Vec<char>) = (pattern.chars().collect(), component.chars().collect());
        matches(&pattern, &component, |one| *one == '*', |one, other| *one == '?' || one == other).contains(&component.len())
    };
    // Any prefix of the path is enough: the rest is below it.
    !matches(&pattern, path, |one| *one == ANY_DEPTH, is_component).is_empty()
}

/// Returns the lengths of the prefixes of `items` (none of them empty) that the pattern matches. Each pair is compared once, so
/// the time is bounded by the product of both lengths.
fn matches<T>(pattern: &[T], items: &[T], is_any: impl Fn(&T) -> bool, is_one: impl Fn(&T, &T) -> bool) -> Vec<usize> {
    let mut reached = vec![false; items.len() + 1];
    reached[0] = true;
    for part in pattern {
        if is_any(part) {
            for at in 1..reached.len() {
                reached[at] |= reached[at - 1];
            }
        } else {
            for at in (1..reached.len()).rev() {
                reached[at] = reached[at - 1] && is_one(part, &items[at - 1]);
            }
            reached[0] = false;
        }
    }
    (0..reached.len()).filter(|at| reached[*at] && (*at > 0 || items.is_empty())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(patterns: &[&str], path: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Selection::new(&patterns).unwrap().contains(&FilePath::new(path).unwrap())
    }

    #[test]
    fn paths_directories_and_patterns_name_files() {
        for (pattern, path, is_meant) in [
            ("a.txt", "a.txt", true),
            ("a.txt", "b/a.txt", false),
            ("a", "a/b/c", true),
            ("a/", "a/b/c", true),
            ("a/b", "a/b", true),
            ("a", "ab", false),
            ("*.csv", "x.csv", true),
            ("*.csv", "d/x.csv", false),
            ("*.csv", "x.csv/y", true),
            ("d/*.csv", "d/x.csv", true),
            ("**/x.csv", "x.csv", true),
            ("**/x.csv", "a/b/x.csv", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/b/c/y", false),
            ("**", "a/b", true),
            ("?", "ä", true),
            ("??", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("*", "a", true),
            ("a/b/c", "a/b", false),
        ] {
            assert_eq!(selects(&[pattern], path), is_meant, "{pattern} {path}");
        }
        assert!(selects(&[], "any/thing"));
        assert!(selects(&["x", "a/*"], "a/b"));
    }

    #[test]
    fn what_names_no_file_below_is_refused() {
        for pattern in ["", "/", "/a", "../a", "a/../b", "./a", "a//b", "a\n"] {
            assert_eq!(Selection::new(&[pattern.to_owned()]), Err(SelectionError::NotPlain), "{pattern:?}");
        }
        assert_eq!(Selection::new(&vec!["a".to_owned(); 65]), Err(SelectionError::TooMany));
        assert_eq!(Selection::new(&vec!["a".repeat(200); 60]), Err(SelectionError::TooMany));
    }

    #[test]
    fn many_stars_take_no_longer() {
        assert!(!selects(&[&"*a".repeat(120)], &"a".repeat(100).replace("aaaa", "aaab")));
    }
}
