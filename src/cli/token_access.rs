//! Direct access to the token for administrators, without the service. PINs come from the configured source or the terminal.

use std::path::PathBuf;

use stationmaster_keystore::TokenAccess;
use stationmaster_system::memory;

use super::error::{CliError, Exit};
use crate::{config::Config, dev::DevToken, server::bootstrap};

/// Which token.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(super) struct DirectArgs {
    /// Go to the token of this configuration, past the service
    #[arg(long, value_name = "FILE", help_heading = "Token")]
    pub config: Option<PathBuf>,
    /// Go to the token of this development station, past the service
    #[arg(long, value_name = "DIR", help_heading = "Token")]
    pub state: Option<PathBuf>,
}

/// The environment variable that names the service's configuration for commands that need one.
const CONFIG_VARIABLE: &str = "STATIONMASTER_CONFIG";

/// The configuration that the environment names.
pub(super) fn config_of_environment() -> Option<PathBuf> {
    std::env::var_os(CONFIG_VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// Another source of the user PIN than the configuration's.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PinArgs {
    /// A file whose first line is the user PIN, in place of what the configuration names
    #[arg(long, value_name = "FILE", help_heading = "Token", conflicts_with = "state")]
    pub pin_file: Option<PathBuf>,
}

/// A token, and the keys' purposes where a configuration tells them.
pub(super) struct TokenContext {
    pub access: TokenAccess,
    pub config: Option<Config>,
    /// The directory of the station's audit.
    pub audit: PathBuf,
}

impl DirectArgs {
    /// The token, for a command that cannot do without: one that was named here, or by the environment's configuration.
    pub(super) fn required(&self, pin: &PinArgs) -> Result<TokenContext, CliError> {
        let mut named = self.clone();
        if named.state.is_none() && named.config.is_none() {
            named.config = config_of_environment();
        }
        named.open(pin)?.ok_or_else(|| {
            CliError::usage("no token is named: --config FILE or --state DIR").with_hint(format!(
                "{CONFIG_VARIABLE} names the service's configuration for all commands; the service itself makes no keys"
            ))
        })
    }

    /// The token, when one was named. Must be called before any thread runs.
    #[expect(unsafe_code, reason = "sets a variable before a thread runs")]
    pub(super) fn open(&self, pin: &PinArgs) -> Result<Option<TokenContext>, CliError> {
        if self.config.is_some() || self.state.is_some() {
            // Before the PIN is read.
            memory::close().map_err(|error| CliError::other(format!("the process cannot be closed to others: {error}")))?;
        }
        if let Some(file) = &self.config {
            let mut config = Config::load(file)?;
            if let Some(file) = &pin.pin_file {
                config.token.pin_file = Some(file.clone());
                (config.token.pin_credential, config.token.pin_env) = (None, None);
            }
            let audit = config.audit_directory();
            return Ok(Some(TokenContext { access: bootstrap::token_access(&config)?, config: Some(config), audit }));
        }
        let Some(state) = &self.state else {
            return Ok(None);
        };
        let directory = state.canonicalize().map_err(|error| CliError {
            // It is not to be made by hand.
            hint: (error.kind() == std::io::ErrorKind::NotFound)
                .then(|| "`serve --dev --station ID --state DIR` makes one; is this its directory?".to_owned()),
            ..CliError::file("find", state, &error)
        })?;
        if !DevToken::is_in(&directory) {
            return Err(CliError::new(Exit::NotFound, format!("no development station in {}", state.display()))
                .with_hint("`serve --dev --station ID --state DIR` makes one"));
        }
        // SAFETY: the command line runs on one thread until a runtime is made, which this command never does.
        let token = unsafe { DevToken::open(&directory) }?;
        Ok(Some(TokenContext { access: token.access()?, config: None, audit: directory.join("audit") }))
    }
}
