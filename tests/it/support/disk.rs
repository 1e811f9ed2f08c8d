//! A small disk of a test's own, to be filled.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::private_engine::privileged;

/// A tmpfs. It is unmounted when this is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Of so many KiB, at a directory that is made when it is not there. Needs root, or `sudo -n`.
    #[track_caller]
    pub fn mount(at: &Path, kib: u64) -> Self {
        fs::create_dir_all(at).expect("a directory");
        let options = format!("size={kib}k,mode=0777");
        let mounted = privileged("mount").args(["-t", "tmpfs", "-o", &options, "stationmaster-test"]).arg(at).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a disk cannot be mounted: run as root, or with sudo");
        Self(at.to_owned())
    }
}

const FILLER: &str = "filler";

/// Fills the disk under a directory, all but so many KiB.
#[track_caller]
pub fn fill(directory: &Path, all_but_kib: u64) {
    let mut file = fs::File::create(directory.join(FILLER)).expect("a file");
    while file.write_all(&[1; 4096]).is_ok() {}
    let full = file.metadata().expect("a file").len();
    file.set_len(full.saturating_sub(all_but_kib << 10)).expect("a shorter file");
}

/// Takes away what filled it.
#[track_caller]
pub fn empty(directory: &Path) {
    fs::remove_file(directory.join(FILLER)).expect("what filled the disk");
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = privileged("umount").arg("--lazy").arg(&self.0).status();
    }
}
