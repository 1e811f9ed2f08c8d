//! The directory with the demonstration's files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{DemoError, DemoOptions, engine::DockerClient};

/// Returns the path of the stations' trust file in the directory of the demonstration.
pub(super) fn trust_file(root: &Path) -> PathBuf {
    root.join("trust.toml")
}

/// The directory. On drop the demonstration's files are removed, unless they are kept.
pub(super) struct Workspace {
    root: PathBuf,
    keep: bool,
    /// Whether the directory itself is removed too.
    created: bool,
}

impl Workspace {
    pub(crate) fn create(options: &DemoOptions) -> Result<Self, DemoError> {
        let Some(state) = &options.state else {
            let made = tempfile::Builder::new().prefix("stationmaster-demo-").tempdir();
            let root = made.map_err(DemoError::io("make a temporary directory"))?.keep();
            return Ok(Self { root, keep: options.keep, created: true });
        };
        let root = std::path::absolute(state).map_err(DemoError::io(format!("find {}", state.display())))?;
        let created = !root.exists();
        fs::create_dir_all(&root).map_err(DemoError::io(format!("make {}", root.display())))?;
        let mut entries = fs::read_dir(&root).map_err(DemoError::io(format!("read {}", root.display())))?;
        if entries.next().is_some() {
            return Err(DemoError::StateInUse(root));
        }
        Ok(Self { root, keep: options.keep, created })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns whether files are kept when the demonstration ends.
    pub(crate) fn is_kept(&self) -> bool {
        self.keep
    }

    /// Describes what was kept, and how to remove it.
    pub(crate) fn kept(&self, engine: &DockerClient) -> String {
        let label = engine.label();
        let root = self.root.display();
        format!(
            "Kept: {root} (tokens, logs, creator.pem) and the images with the label {label}. Remove them with\n  \
             docker rmi -f $(docker images -aq --filter label={label} | sort -u); rm -r '{root}'"
        )
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // The directory was empty before.
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        if self.created {
            let _ = fs::remove_dir(&self.root);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::workspace::*;

    #[test]
    fn what_was_there_before_stays_and_what_was_made_goes() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| DemoOptions { keep: false, state: Some(parent.path().join(name)) };
        fs::create_dir(parent.path().join("there")).unwrap();
        for (name, stays) in [("there", true), ("new", false)] {
            let place = Workspace::create(&at(name)).unwrap();
            fs::create_dir(place.root().join("station")).unwrap();
            fs::write(place.root().join("station/log"), "x").unwrap();
            drop(place);
            assert_eq!(parent.path().join(name).exists(), stays, "{name}");
        }
        fs::write(parent.path().join("there/file"), "x").unwrap();
        assert!(matches!(Workspace::create(&at("there")), Err(DemoError::StateInUse(_))));
        assert!(parent.path().join("there/file").exists());
    }
}
