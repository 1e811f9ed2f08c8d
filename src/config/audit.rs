//! `[audit]`: settings of the audit log and its mirror.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::audit::{Mirror, SinkKind};

/// `[audit]`: settings of the audit log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// The logs' directory; `audit` in the state directory when absent.
    pub directory: Option<PathBuf>,
    /// Label of the key that signs checkpoints.
    pub key: String,
    /// Number of records after which a checkpoint is signed.
    pub checkpoint_records: u64,
    /// Number of seconds after which a checkpoint is signed, when there are new records.
    pub checkpoint_s: u64,
    /// Size of a segment in MiB above which a new one is begun.
    pub segment_mib: u64,
    /// The directory to which whole old segments are moved: `service` and `officer` below it. When absent, they are not moved.
    pub archive: Option<PathBuf>,
    /// Number of segments that are not moved.
    pub keep_segments: u64,
    /// Disk space in MiB that is reserved for the audit log.
    pub reserve_mib: u64,
    /// A mirror that receives a copy of the records.
    pub second: Option<MirrorConfig>,
}

impl Default for AuditConfig {
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

/// `[audit.second]`: a mirror that receives a copy of the records. Exactly one of its three kinds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorConfig {
    /// A file that is appended to.
    pub file: Option<PathBuf>,
    /// A syslog socket.
    pub syslog: Option<PathBuf>,
    /// A directory that receives files, complete under their final names.
    pub directory: Option<PathBuf>,
    /// Maximum time for one batch, in seconds.
    pub timeout_s: Option<u64>,
}

impl MirrorConfig {
    /// Returns the mirror; `None` when none is configured.
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
