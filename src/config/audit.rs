//! `[audit]`: what is kept of what happened, and where it goes besides.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::audit::{Mirror, SinkKind};

/// `[audit]`: what is kept of what happened.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The logs' directory; `audit` in the state directory when absent.
    pub directory: Option<PathBuf>,
    /// Label of the key that signs checkpoints.
    pub key: String,
    /// A checkpoint is signed after this many records.
    pub checkpoint_records: u64,
    /// And after this many seconds, when there are new ones.
    pub checkpoint_s: u64,
    /// A new segment is begun when one is longer than this, in MiB.
    pub segment_mib: u64,
    /// The directory that whole old segments are moved to: `service` and `officer` below it. They stay where they are when absent.
    pub archive: Option<PathBuf>,
    /// Segments that are left where they are.
    pub keep_segments: u64,
    /// Space on its disk, in MiB, that the audit alone can use.
    pub reserve_mib: u64,
    /// Where records go besides.
    pub second: Option<Second>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            directory: None,
            key: "audit".into(),
            checkpoint_records: 1000,
            checkpoint_s: 300,
            segment_mib: 64,
            archive: None,
            keep_segments: 4,
            reserve_mib: 16,
            second: None,
        }
    }
}

/// `[audit.second]`: where records go besides. One of the three.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Second {
    /// A file that is appended to.
    pub file: Option<PathBuf>,
    /// A syslog socket.
    pub syslog: Option<PathBuf>,
    /// A directory that gets files, complete under their names.
    pub directory: Option<PathBuf>,
    /// Seconds that it may take for one batch.
    pub timeout_s: Option<u64>,
}

impl Second {
    /// The sink; `None` when no one is named.
    #[must_use]
    pub fn sink(&self) -> Option<Mirror> {
        let kind = match (&self.file, &self.syslog, &self.directory) {
            (Some(file), _, _) => SinkKind::File(file.clone()),
            (_, Some(socket), _) => SinkKind::Syslog(socket.clone()),
            (_, _, Some(directory)) => SinkKind::Directory(directory.clone()),
            (None, None, None) => return None,
        };
        Some(Mirror { kind, timeout: Duration::from_secs(self.timeout_s.unwrap_or(5)) })
    }
}
