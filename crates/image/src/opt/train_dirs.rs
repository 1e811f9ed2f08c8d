//! Places of a train below `/opt`.

/// Path of the config.
pub const CONFIG_PATH: &str = "/opt/train_config.json";
/// Maximum size of a config that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 8 * 1024 * 1024;

/// The two directories of a train that hold its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainDir {
    /// `/opt/pht_train`: the immutable files and the query.
    Train,
    /// `/opt/pht_results`: the results.
    Results,
}

impl TrainDir {
    /// Returns the directory's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "pht_train",
            Self::Results => "pht_results",
        }
    }

    /// Returns the directory's path from the image's root.
    pub fn path(self) -> &'static str {
        match self {
            Self::Train => "opt/pht_train",
            Self::Results => "opt/pht_results",
        }
    }
}
