//! Results of a train: returned to granted principals and the creator only.

mod creator;
mod hostile_service;
mod journey;
mod reading;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;
use sha2::{Digest, Sha256};
use stationmaster_proto as pb;
use stationmaster_proto::{open_results_request::Part, open_results_response::Event};

use crate::{
    cli::{last_line, said},
    support::{PROGRAM, Refusal, Station, block_on},
};

/// Files by path.
type Files = BTreeMap<String, Vec<u8>>;

impl Station {
    /// `OpenResults`, to its outcome: each file's announcement, pieces and end fit together.
    pub fn open_results(&self, image: &str, paths: &[&str]) -> Result<(Files, pb::OpenResultsOutcome), Refusal> {
        self.open_results_of(vec![Part::Image(image.into())], paths)
    }

    /// The same of an archive of `/opt`.
    pub fn open_results_in(&self, opt: &[u8], paths: &[&str]) -> Result<(Files, pb::OpenResultsOutcome), Refusal> {
        self.open_results_of(opt.chunks(60 << 10).map(|piece| Part::Archive(piece.into())).collect(), paths)
    }

    /// The same, message by message.
    pub fn open_results_of(&self, parts: Vec<Part>, paths: &[&str]) -> Result<(Files, pb::OpenResultsOutcome), Refusal> {
        let mut paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        let message = move |part| pb::OpenResultsRequest { part: Some(part), paths: std::mem::take(&mut paths) };
        let messages: Vec<pb::OpenResultsRequest> = parts.into_iter().map(message).collect();
        block_on(async {
            let mut stream = self.trains_client().open_results(tokio_stream::iter(messages)).await?.into_inner();
            let (mut files, mut open, mut outcome) = (Files::new(), None, None);
            while let Some(message) = stream.message().await? {
                assert!(outcome.is_none(), "something follows the outcome");
                match message.event.expect("an event") {
                    Event::Progress(_) => {}
                    Event::File(file) => assert!(open.replace((file, Vec::new())).is_none(), "a file in a file"),
                    Event::Chunk(plain) => {
                        assert!(!plain.is_empty() && plain.len() <= 64 << 10, "{} bytes", plain.len());
                        open.as_mut().expect("a file").1.extend(plain);
                    }
                    Event::End(end) => {
                        let (file, content) = open.take().expect("a file");
                        assert_eq!((file.size, end.sha256), (content.len() as u64, Sha256::digest(&content).to_vec()));
                        assert!(files.insert(file.path, content).is_none(), "a file twice");
                    }
                    Event::Outcome(last) => outcome = Some(last),
                }
            }
            Ok((files, outcome.expect("an outcome")))
        })
    }
}

/// The program without any service.
fn alone(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(arguments).stdin(std::process::Stdio::null());
    command
}

/// What a command answers to a program, and its exit code.
#[track_caller]
fn answer(mut command: Command, exit: i32) -> Value {
    let done = command.args(["--output", "json"]).output().expect("the program");
    assert_eq!(done.status.code(), Some(exit), "{}", said(&done));
    last_line(&String::from_utf8(done.stdout).expect("text"))
}

/// Everything in a directory; each file and directory is its owner's only.
#[track_caller]
fn written(directory: &Path) -> Files {
    fn walk(directory: &Path, prefix: &str, files: &mut Files) {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(directory).expect("a directory").permissions().mode() & 0o7777, 0o700, "{prefix}");
        for entry in fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            let (name, kind) = (format!("{prefix}{}", entry.file_name().to_string_lossy()), entry.metadata().expect("metadata"));
            if kind.is_dir() {
                walk(&entry.path(), &format!("{name}/"), files);
            } else {
                assert_eq!(kind.permissions().mode() & 0o7777, 0o600, "{name}");
                files.insert(name, fs::read(entry.path()).expect("a file"));
            }
        }
    }
    let mut files = Files::new();
    walk(directory, "", &mut files);
    files
}
