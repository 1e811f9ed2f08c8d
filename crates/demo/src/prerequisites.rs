//! Checks that this machine meets the requirements of the demonstration.

use std::{fs::File, io::Read, path::PathBuf, process::Command};

use stationmaster_keystore::softhsm;

use super::DemoError;

const DEFAULT_ENGINE: &str = "unix:///var/run/docker.sock";
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
/// Number of bytes at the beginning in which a dynamically linked program names its loader.
const HEAD: u64 = 4096;

/// The requirements that were found.
pub(super) struct Prerequisites {
    /// The engine's socket, `unix:///path`.
    pub engine: String,
    /// A statically linked busybox.
    pub busybox: PathBuf,
}

impl Prerequisites {
    /// Checks all requirements.
    pub(crate) fn find() -> Result<Self, DemoError> {
        if !softhsm::find_module().is_some_and(|module| module.is_file()) {
            return Err(DemoError::NoSoftHsm);
        }
        Ok(Self { busybox: busybox()?, engine: engine()? })
    }

    /// Returns the names of busybox's applets.
    pub(crate) fn applets(&self) -> Result<Vec<String>, DemoError> {
        let listed = Command::new(&self.busybox).arg("--list").output().map_err(DemoError::io("run busybox"))?;
        Ok(String::from_utf8_lossy(&listed.stdout).split_whitespace().map(str::to_owned).collect())
    }
}

fn engine() -> Result<String, DemoError> {
    match std::env::var("DOCKER_HOST") {
        Ok(host) if host.starts_with("unix://") => Ok(host),
        Ok(host) if !host.is_empty() => Err(DemoError::EngineElsewhere(host)),
        _ => Ok(DEFAULT_ENGINE.to_owned()),
    }
}

fn busybox() -> Result<PathBuf, DemoError> {
    let found = BUSYBOX.iter().map(PathBuf::from).find(|path| path.is_file());
    let path = found.ok_or_else(|| DemoError::NoBusybox(format!("neither {}", BUSYBOX.join(" nor "))))?;
    let mut head = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(DemoError::io(format!("read {}", path.display())))?;
    let names = |loader: &[u8]| head.windows(loader.len()).any(|window| window == loader);
    if names(b"/ld-linux") || names(b"/ld-musl") {
        // Its libraries would be missing in an image that contains nothing else.
        return Err(DemoError::NoBusybox(format!("{} needs shared libraries", path.display())));
    }
    Ok(path)
}
