//! The algorithm of the demonstration's train: a small shell script, a file that it sources, and a query.

use std::collections::BTreeMap;

use stationmaster_train::names::FilePath;

use super::DemoError;

/// Stands in the files where the mark of this demonstration goes.
const PLACEHOLDER: &str = "@MARK@";

/// What runs in the container.
pub(super) const COMMAND: [&str; 2] = ["/bin/sh", "/opt/pht_train/run.sh"];
/// What the query asks for.
pub(super) const WANTED: &str = "female";

/// The algorithm and its query. Each holds a mark, random, that shows plaintext wherever it leaks.
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
            let path = FilePath::new(path).map_err(|error| DemoError::Unproven(format!("the name {path} is {error}")))?;
            files.insert(path, filled(text));
        }
        Ok(Self { files, query: filled(include_str!("algorithm/query.json")), mark })
    }

    /// The files as `file_list` names them: top-level ones begin with `./`, and the order is neither sorted nor the archive's.
    pub(crate) fn file_list(&self) -> Vec<String> {
        let listed = |path: &FilePath| if path.components().count() == 1 { format!("./{path}") } else { path.to_string() };
        self.files.keys().rev().map(listed).collect()
    }

    /// What no image that leaves a station may hold: of the code, the query, the results.
    pub(crate) fn needles(&self) -> [String; 3] {
        ["code", "query", "result"].map(|kind| format!("{kind}-{}", self.mark))
    }
}

/// Random hex of so many bytes.
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
