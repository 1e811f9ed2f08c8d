//! Reserves disk space for the log: blocks that the segment has beyond its end. A full disk stops all other writers first.

use std::{
    fs::File,
    time::{Duration, Instant},
};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

/// Interval at which the free space is checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The reserve of the segment that is being written.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Size of the reserve beyond the end, in bytes; 0 for none.
    bytes: u64,
    /// Offset up to which the file has its blocks.
    secured: u64,
    /// Whether the reserve could not be filled.
    low: bool,
    /// Whether a warning that the disk is nearly full was logged.
    warned: bool,
    looked: Option<Instant>,
}

impl Reserve {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, secured: 0, low: false, warned: false, looked: None }
    }

    /// Allocates the file's blocks beyond `written`, as far as the disk has them. Returns whether it has them.
    pub(super) fn fill(&mut self, file: &File, written: u64) -> bool {
        if self.bytes == 0 {
            return true;
        }
        let left = self.secured.saturating_sub(written);
        if left < self.bytes / 2 || self.low {
            match fallocate(file, FallocateFlags::KEEP_SIZE, written, self.bytes) {
                Ok(()) => {
                    self.secured = written + self.bytes;
                    if std::mem::take(&mut self.low) {
                        tracing::info!("the reserved disk space of the audit log is complete again");
                    }
                }
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    tracing::warn!("the audit log has no reserved disk space: the file system does not support it");
                    self.bytes = 0;
                    return true;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.low, true) {
                        tracing::error!(
                            %error, left,
                            "the disk of the audit log is full: the reserved space is used; when it is used up, operations are refused"
                        );
                    }
                }
            }
        }
        self.look(file);
        !self.low
    }

    /// Warns before the reserve is needed.
    fn look(&mut self, file: &File) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let Ok(disk) = fstatvfs(file) else { return };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let warns = free < 2 * self.bytes;
        if warns && !self.warned {
            tracing::warn!(
                free,
                reserve = self.bytes,
                "the disk of the audit log is nearly full: archive old segments or free space"
            );
        }
        // Hysteresis: near the threshold the warning would otherwise be repeated again and again.
        if warns || free > 3 * self.bytes {
            self.warned = warns;
        }
    }

    /// Resets the reserve when the file was replaced or truncated.
    pub(super) fn forget(&mut self) {
        self.secured = 0;
    }
}
