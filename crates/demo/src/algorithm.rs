//! The algorithm of the demonstration's train: a small shell script, a file that it sources, and a query.

use std::collections::BTreeMap;

use stationmaster_train::names::FilePath;

use super::DemoError;

/// Placeholder in the files for the mark of this demonstration.
const PLACEHOLDER: &str = "@MARK@";

/// The command of the container.
pub(super) const COMMAND: [&str; 2] = ["/bin/sh", "/opt/pht_train/run.sh"];
/// The gender that the query selects.
pub(super) const WANTED: &str = "female";

/// The algorithm and its query. Each contains a random mark, by which leaked plaintext is found.
pub(super) struct Algorithm {
    /// Content by path below `pht_train`.
    pub files: BTreeMap<FilePath, Vec<u8>>,
    /// The query.
    pub query: Vec<u8>,
    mark: String,
}

impl Algorithm {
    pub(crate) fn new() -> Result<Self, DemoError> {
        let mark = mark(16)?;
        let filled = |text: &str| text.replace(PLACEHOLDER, &mark).into_bytes();
        let sources = [("run.sh", include_str!("algorithm/run.sh")), ("lib/count.sh", include_str!("algorithm/lib/count.sh"))];
        let mut files = BTreeMap::new();
        for (path, text) in sources {
            let path = FilePath::new(path).map_err(|error| DemoError::Unproven(format!("the name {path}: {error}")))?;
            files.insert(path, filled(text));
        }
        Ok(Self { files, query: filled(include_str!("algorithm/query.json")), mark })
    }

    /// The files as `file_list` names them: top-level ones begin with `./`, and the order is neither sorted nor the archive's.
    pub(crate) fn file_list(&self) -> Vec<String> {
        let listed = |path: &FilePath| if path.components().count() == 1 { format!("./{path}") } else { path.to_string() };
        self.files.keys().rev().map(listed).collect()
    }

    /// Returns texts of code, query and results that no image may contain when it leaves a station.
    pub(crate) fn needles(&self) -> [String; 3] {
        ["code", "query", "result"].map(|kind| format!("{kind}-{}", self.mark))
    }
}

/// Returns random bytes as hex.
pub(super) fn mark(bytes: usize) -> Result<String, DemoError> {
    let mut random = vec![0; bytes];
    openssl::rand::rand_bytes(&mut random).map_err(DemoError::crypto)?;
    Ok(const_hex::encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_needles_are_in_what_travels_and_not_in_its_neighbours() {
        let algorithm = Algorithm::new().unwrap();
        let [code, query, result] = algorithm.needles();
        let text = |path: &str| String::from_utf8(algorithm.files[&FilePath::new(path).unwrap()].clone()).unwrap();
        assert!(text("lib/count.sh").contains(&code));
        assert!(String::from_utf8_lossy(&algorithm.query).contains(&query));
        // Only a run writes it.
        assert!(!text("lib/count.sh").contains(&result) && !text("run.sh").contains(&result));
        assert_eq!(algorithm.file_list(), ["./run.sh", "lib/count.sh"]);
    }

    #[test]
    fn the_query_asks_for_what_the_demonstration_counts() {
        let algorithm = Algorithm::new().unwrap();
        let query: serde_json::Value = serde_json::from_slice(&algorithm.query).unwrap();
        assert_eq!(query["query"]["parameters"][0]["condition"], WANTED);
    }
}
