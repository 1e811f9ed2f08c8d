//! A process's core image, searched for secrets: see `tests/peer/core_image.py` for what is read and what is left out.

use std::{collections::BTreeMap, io::Write, path::Path, process::Stdio};

use serde::Deserialize;

use super::{Peer, as_root};

/// What a search found.
#[derive(Debug, Deserialize)]
pub struct Searched {
    /// How much was read.
    pub bytes: u64,
    /// What a core image does not hold.
    pub left_out: Vec<LeftOut>,
    /// Where a secret was.
    pub hits: Vec<Hit>,
}

/// A mapping that was not read.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "a test that fails shows all of it")]
pub struct LeftOut {
    /// Its name, as `/proc/PID/maps` shows it.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Why.
    pub why: String,
}

/// A secret in memory.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "a test that fails shows all of it")]
pub struct Hit {
    /// Which.
    pub secret: String,
    /// In which form.
    pub form: String,
    /// In which mapping.
    pub mapping: String,
    /// Where.
    pub address: String,
}

impl Searched {
    /// The hits of one secret, by form.
    pub fn forms_of(&self, secret: &str) -> BTreeMap<&str, usize> {
        let mut forms = BTreeMap::new();
        for hit in self.hits.iter().filter(|hit| hit.secret == secret) {
            *forms.entry(hit.form.as_str()).or_default() += 1;
        }
        forms
    }
}

/// Searches a process for secrets, by name. Root reads it; where the test is not root, sudo must be there.
#[track_caller]
pub fn search<'a>(pid: u32, secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Searched {
    let secrets: BTreeMap<&str, String> = secrets.into_iter().map(|(name, bytes)| (name, const_hex::encode(bytes))).collect();
    let asked = serde_json::json!({ "pid": pid, "secrets": secrets });
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer/core_image.py"));
    let mut child = as_root(Peer::newest().python())
        .arg("-B")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python, and sudo where the test is not root");
    child.stdin.take().expect("a pipe").write_all(asked.to_string().as_bytes()).expect("a search that listens");
    let done = child.wait_with_output().expect("a search that ends");
    assert!(done.status.success(), "the search failed: {}", String::from_utf8_lossy(&done.stdout));
    serde_json::from_slice(&done.stdout).expect("what was found")
}
