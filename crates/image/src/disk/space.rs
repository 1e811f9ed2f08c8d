//! Checks free disk space before it is needed, with one query for many small files.

use rustix::fs::StatVfs;

use crate::ImageError;

/// Bytes that may be written before free space is queried again.
const LEASE: u64 = 16 << 20;

/// Free space reserved on a disk.
#[derive(Debug)]
pub(crate) struct DiskSpace {
    /// Name of the location in the disk-full error.
    place: &'static str,
    /// Bytes that must stay free.
    reserve: u64,
    /// Bytes found free and not yet claimed.
    granted: u64,
}

impl DiskSpace {
    /// Creates a record without claims.
    pub(crate) fn new(place: &'static str, reserve: u64) -> Self {
        Self { place, reserve, granted: 0 }
    }

    /// Fails when fewer than `needed` bytes are free above the reserve.
    pub(crate) fn claim(&mut self, needed: u64, ask: impl FnOnce() -> rustix::io::Result<StatVfs>) -> Result<(), ImageError> {
        if let Some(left) = self.granted.checked_sub(needed) {
            self.granted = left;
            return Ok(());
        }
        let disk = ask().map_err(ImageError::at(self.place))?;
        let free = (disk.f_bavail * disk.f_frsize).saturating_sub(self.reserve);
        let Some(left) = free.checked_sub(needed) else {
            return Err(ImageError::DiskFull { place: self.place, needed, free });
        };
        self.granted = left.min(LEASE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crate::disk::space::*;

    #[test]
    fn the_disk_is_asked_for_large_files_and_now_and_then() {
        let asked = Cell::new(0);
        let mut space = DiskSpace::new("test", 0);
        let mut claim = |needed| {
            space.claim(needed, || {
                asked.set(asked.get() + 1);
                rustix::fs::statvfs("/proc/self").map(|disk| StatVfs { f_bavail: 1 << 20, f_frsize: 4096, ..disk })
            })
        };
        for _ in 0..1000 {
            claim(1000).unwrap();
        }
        assert_eq!(asked.get(), 1);
        claim(20 << 20).unwrap();
        assert_eq!(asked.get(), 2);
        assert!(matches!(claim(5 << 30), Err(ImageError::DiskFull { place: "test", free, .. }) if free == 4 << 30));
    }
}
