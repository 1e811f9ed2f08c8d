//! Builds the configuration of a child image: its parent's configuration with one more layer.
//!
//! The engine shows a parent's configuration, layers and history, but not its configuration file, and its history does not show
//! which entries made no layer (`empty_layer`, OCI image-spec config.md). Entries with a size made one. For those without,
//! the instruction is used, as builders write it. The caller compares the engine's history of the new image with the parent's
//! (a train_lib station compares them later) and asks for the next candidate if they differ.

use serde_json::{Map, Value, json};
use stationmaster_train::digest::Sha256Digest;

use super::reference::ImageId;

/// One entry of an image's history, oldest first, as the engine's API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Seconds since 1970.
    pub created: i64,
    /// The instruction.
    pub created_by: String,
    /// The comment.
    pub comment: String,
    /// Size of its layer's files in bytes.
    pub size: i64,
}

/// Metadata of an image as the engine shows it, as far as a child needs it.
#[derive(Clone, Debug)]
pub struct ImageMetadata {
    /// The image's id.
    pub id: ImageId,
    /// Digests of the layers' archives, lowest first.
    pub layers: Vec<String>,
    /// `Config` as the API shows it.
    pub config: Map<String, Value>,
    /// `architecture`, `os`, `variant`, `os.version`, `author` where set.
    pub platform: Map<String, Value>,
    /// Size of all layers' files in bytes, as the engine counts them.
    pub size: u64,
    /// The history, oldest first.
    pub history: Vec<HistoryEntry>,
}

/// Maximum number of candidates that are tried.
const CANDIDATES: usize = 16;

impl ImageMetadata {
    /// Whether this image was made on `parent`: its layers begin with the parent's.
    pub fn descends_from(&self, parent_layers: &[String]) -> bool {
        self.layers.starts_with(parent_layers)
    }

    /// Whether a volume of the image would cover one of a train's directories, a path in it, or all of `/opt`.
    pub fn hides_train(&self) -> bool {
        let asked = self.config.get("Volumes").and_then(Value::as_object).into_iter().flat_map(|volumes| volumes.keys());
        asked.into_iter().any(|volume| {
            let mut parts = Vec::new();
            for part in volume.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part),
                }
            }
            match parts[..] {
                [] | ["opt"] => true,
                ["opt", entry, ..] => matches!(entry, "pht_train" | "pht_results" | "train_config.json" | "user_sym_key.key"),
                _ => false,
            }
        })
    }

    /// Returns the candidates for which history entries made no layer, most likely first; each as long as the history.
    pub fn empty_layer_candidates(&self) -> Vec<Vec<bool>> {
        let history = &self.history;
        let silent: Vec<usize> = (0..history.len()).filter(|&i| history[i].size == 0).collect();
        let sized = history.len() - silent.len();
        let Some(layers_of_silent) = self.layers.len().checked_sub(sized) else { return Vec::new() };
        if layers_of_silent > silent.len() {
            return Vec::new();
        }
        // Start from the instructions, then correct the count from the newest end.
        let mut guess: Vec<bool> = silent.iter().map(|&i| makes_no_layer(&history[i].created_by)).collect();
        let mut with_layer = guess.iter().filter(|empty| !**empty).count();
        for empty in guess.iter_mut().rev() {
            if (with_layer > layers_of_silent && !*empty) || (with_layer < layers_of_silent && *empty) {
                with_layer = if *empty { with_layer + 1 } else { with_layer - 1 };
                *empty = !*empty;
            }
        }
        let mut candidates = vec![guess.clone()];
        // Variants of the guess: one entry with a layer swapped with one without.
        for with in 0..guess.len() {
            for without in 0..guess.len() {
                if candidates.len() < CANDIDATES && !guess[with] && guess[without] {
                    let mut other = guess.clone();
                    other.swap(with, without);
                    candidates.push(other);
                }
            }
        }
        let spread = |flags: Vec<bool>| {
            let mut all = vec![false; history.len()];
            for (&i, empty) in silent.iter().zip(flags) {
                all[i] = empty;
            }
            all
        };
        candidates.into_iter().map(spread).collect()
    }

    /// Returns the configuration file of a child with one more layer. `created` is RFC 3339, `instruction` its history entry.
    pub fn child_config(&self, layer: &Sha256Digest, empty: Option<&[bool]>, created: &str, instruction: &str) -> Vec<u8> {
        let mut file = self.platform.clone();
        file.insert("config".into(), Value::Object(self.config.clone()));
        file.insert("created".into(), json!(created));
        let layers: Vec<String> = self.layers.iter().cloned().chain([layer.to_string()]).collect();
        file.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": layers }));
        if let Some(empty) = empty {
            let mut history: Vec<Value> = self.history.iter().zip(empty).map(|(entry, empty)| entry.to_json(*empty)).collect();
            history.push(json!({ "created": created, "created_by": instruction }));
            file.insert("history".into(), Value::Array(history));
        }
        Value::Object(file).to_string().into_bytes()
    }
}

impl HistoryEntry {
    fn to_json(&self, empty: bool) -> Value {
        let mut entry = Map::new();
        entry.insert("created".into(), json!(rfc3339(self.created)));
        entry.insert("created_by".into(), json!(self.created_by));
        if !self.comment.is_empty() {
            entry.insert("comment".into(), json!(self.comment));
        }
        if empty {
            entry.insert("empty_layer".into(), json!(true));
        }
        Value::Object(entry)
    }
}

/// Returns seconds since 1970 as RFC 3339 text, or the zero time if they are out of range.
pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// Whether builders write this instruction for an entry without a layer.
fn makes_no_layer(created_by: &str) -> bool {
    let text = created_by.trim_start();
    if let Some((_, rest)) = text.split_once("#(nop)") {
        let rest = rest.trim_start();
        return !(rest.starts_with("ADD ") || rest.starts_with("COPY "));
    }
    let buildkit = [
        "ENV",
        "CMD",
        "ENTRYPOINT",
        "LABEL",
        "EXPOSE",
        "USER",
        "VOLUME",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "SHELL",
        "ONBUILD",
        "MAINTAINER",
        "ARG",
    ];
    let word = text.split([' ', '[']).next().unwrap_or_default();
    buildkit.contains(&word)
}

#[cfg(test)]
mod tests {
    use crate::oci::image_config::*;

    fn facts(layers: usize, history: &[(&str, i64)]) -> ImageMetadata {
        ImageMetadata {
            id: Sha256Digest::of(b"").into(),
            layers: (0..layers).map(|i| format!("sha256:{i}")).collect(),
            config: Map::new(),
            platform: Map::new(),
            size: 0,
            history: history
                .iter()
                .map(|(by, size)| HistoryEntry { created: 0, created_by: (*by).into(), comment: String::new(), size: *size })
                .collect(),
        }
    }

    #[test]
    fn a_volume_over_the_train_is_seen_however_it_is_spelled() {
        let hides = |volume: &str| {
            let mut image = facts(0, &[]);
            image.config.insert("Volumes".into(), json!({ "/data": {}, volume: {} }));
            image.hides_train()
        };
        for volume in
            ["/", "/opt", "/opt/", "//opt/./pht_train", "/x/../opt/pht_results", "/opt/pht_train/lib", "opt/pht_results/"]
        {
            assert!(hides(volume), "{volume}");
        }
        for volume in ["/data", "/opt/tool", "/opt/pht_train_extra", "/home/opt/pht_train"] {
            assert!(!hides(volume), "{volume}");
        }
        assert!(!facts(0, &[]).hides_train());
    }

    #[test]
    fn builders_instructions_tell_which_entries_made_no_layer() {
        let image = facts(
            3,
            &[
                ("/bin/sh -c #(nop) ADD file:1 in / ", 10),
                ("/bin/sh -c #(nop)  CMD [\"bash\"]", 0),
                ("RUN /bin/sh -c mkdir /opt/pht_train # buildkit", 0),
                ("ENV A=b", 0),
                ("COPY x /x # buildkit", 5),
            ],
        );
        assert_eq!(image.empty_layer_candidates()[0], [false, true, false, true, false]);
    }

    #[test]
    fn the_number_of_layers_decides_against_the_instructions() {
        let image = facts(2, &[("a", 0), ("b", 0), ("c", 1)]);
        let candidates = image.empty_layer_candidates();
        assert_eq!(candidates, [vec![false, true, false], vec![true, false, false]]);
        assert!(facts(0, &[("a", 1)]).empty_layer_candidates().is_empty());
        assert!(facts(3, &[("a", 1)]).empty_layer_candidates().is_empty());
    }
}
