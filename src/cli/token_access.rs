//! Direct access to the token for administrators, without the service. PINs come from the configured source or the terminal.

use std::path::PathBuf;

use stationmaster_keystore::{TokenAccess, softhsm};
use stationmaster_system::memory;

use super::{
    error::{CliError, Exit},
    module_crash,
    state_dir::state_variable,
};
use crate::{
    config::Config,
    dev::{self, DevToken},
    server::open_tokens,
};

/// Selects a token.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(super) struct DirectArgs {
    /// Use the token of this configuration directly, without the service
    #[arg(long, value_name = "FILE", help_heading = "Token")]
    pub config: Option<PathBuf>,
    /// Use the token of this development station directly, without the service
    #[arg(long, value_name = "DIR", help_heading = "Token")]
    pub state: Option<PathBuf>,
}

/// Selects one of several configured tokens.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct TokenChoice {
    /// Which of the configuration's tokens: its label, serial number or PKCS#11 URI
    #[arg(long, value_name = "TOKEN", help_heading = "Token", conflicts_with = "state")]
    pub token: Option<String>,
}

/// The environment variable that names the service's configuration for commands that need one.
const CONFIG_VARIABLE: &str = "STATIONMASTER_CONFIG";

/// Returns the configuration that the environment names.
pub(super) fn config_of_environment() -> Option<PathBuf> {
    std::env::var_os(CONFIG_VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// Another source of the user PIN.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct PinArgs {
    /// A file whose first line is the user PIN, instead of the configured source
    #[arg(long, value_name = "FILE", help_heading = "Token", conflicts_with = "state")]
    pub pin_file: Option<PathBuf>,
    #[command(flatten)]
    pub choice: TokenChoice,
}

/// A token, and its configuration if one is named.
pub(super) struct TokenContext {
    pub access: TokenAccess,
    pub config: Option<Config>,
    /// The directory of the station's audit logs.
    pub audit: PathBuf,
}

fn protect() -> Result<(), CliError> {
    memory::protect_process().map_err(|error| CliError::other(format!("the process cannot be protected: {error}")))
}

impl DirectArgs {
    /// Returns the directory of the station's audit logs, for a command that does not use the token.
    pub(super) fn audit_directory(&self) -> Result<PathBuf, CliError> {
        if let Some(state) = &self.state {
            return Ok(state.join("audit"));
        }
        let config = self.config.clone().or_else(config_of_environment).ok_or_else(|| {
            CliError::usage("no station is named: use --config FILE or --state DIR")
                .with_hint(format!("{CONFIG_VARIABLE} names the service's configuration for all commands"))
        })?;
        Ok(Config::load(&config)?.audit_directory())
    }

    /// Opens the token, for a command that requires one: named by an option, or by the environment's configuration.
    pub(super) fn required(&self, pin: &PinArgs) -> Result<TokenContext, CliError> {
        let mut named = self.clone();
        if named.state.is_none() && named.config.is_none() {
            named.config = config_of_environment();
        }
        named.open(pin)?.ok_or_else(|| {
            CliError::usage("no token is named: use --config FILE or --state DIR").with_hint(format!(
                "{CONFIG_VARIABLE} names the service's configuration for all commands; the service itself creates no keys"
            ))
        })
    }

    /// Returns the configuration of the station whose token [`DirectArgs::required`] opens. Must be called before any thread runs.
    pub(super) fn station(&self) -> Result<Station, CliError> {
        StationArgs { config: self.config.clone(), state: self.state.clone() }.named()?.ok_or_else(no_station)
    }

    /// Opens the token, if one is named. Must be called before any thread runs.
    #[expect(unsafe_code, reason = "sets a variable before a thread runs")]
    pub(super) fn open(&self, pin: &PinArgs) -> Result<Option<TokenContext>, CliError> {
        if let Some(file) = &self.config {
            let config = Config::load(file)?;
            let mut token = config.tokens.select(pin.choice.token.as_deref()).map_err(CliError::usage)?.clone();
            module_crash::guard(&[&token.module])?;
            // Before the PIN is read.
            protect()?;
            if let Some(file) = &pin.pin_file {
                token.pin_file = Some(file.clone());
                (token.pin_credential, token.pin_env) = (None, None);
            }
            let audit = config.audit_directory();
            return Ok(Some(TokenContext { access: open_tokens::token_access(&config, &token)?, config: Some(config), audit }));
        }
        let Some(state) = &self.state else {
            return Ok(None);
        };
        let directory = state.canonicalize().map_err(|error| CliError {
            // The directory must not be created by hand.
            hint: (error.kind() == std::io::ErrorKind::NotFound)
                .then(|| "check the directory; `serve --dev --station ID --state DIR` creates a development station".to_owned()),
            ..CliError::file("find", state, &error)
        })?;
        if !DevToken::is_in(&directory) {
            return Err(CliError::new(Exit::NotFound, format!("no development station in {}", state.display()))
                .with_hint("`serve --dev --station ID --state DIR` creates one"));
        }
        if let Some(module) = softhsm::find_module() {
            module_crash::guard(&[&module])?;
        }
        protect()?;
        // SAFETY: the command line runs on one thread until a runtime is made, which this command never does.
        let token = unsafe { DevToken::open(&directory) }?;
        Ok(Some(TokenContext { access: token.access()?, config: None, audit: directory.join("audit") }))
    }
}

/// Selects a station for commands that check it as a whole.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(super) struct StationArgs {
    /// The station of this configuration [default: STATIONMASTER_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The development station in this directory [default: STATIONMASTER_STATE]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// A station's configuration.
pub(super) struct Station {
    pub config: Config,
    /// The options that name it on a command line, for remedies.
    pub options: String,
}

impl StationArgs {
    /// Reads the configuration. Must be called before any thread runs.
    pub(super) fn open(&self) -> Result<Station, CliError> {
        let station = self.named()?.ok_or_else(no_station)?;
        let modules: Vec<_> = station.config.tokens.all().iter().map(|token| token.module.as_path()).collect();
        module_crash::guard(&modules)?;
        Ok(station)
    }

    /// As [`StationArgs::open`], for a command that needs no station; in this process.
    #[expect(unsafe_code, reason = "sets a variable before a thread runs")]
    pub(super) fn named(&self) -> Result<Option<Station>, CliError> {
        let file = self.config.clone().or_else(|| self.state.is_none().then(config_of_environment).flatten());
        if let Some(file) = file {
            return Ok(Some(Station { config: Config::load(&file)?, options: format!("--config {}", file.display()) }));
        }
        let Some(state) = self.state.clone().or_else(state_variable) else { return Ok(None) };
        let directory = state.canonicalize().map_err(|error| CliError::file("find", &state, &error))?;
        // SAFETY: the command line runs on one thread until a runtime is made, which the caller does later.
        let config = unsafe { dev::config_in(&directory) }?;
        Ok(Some(Station { config, options: format!("--state {}", state.display()) }))
    }
}

fn no_station() -> CliError {
    CliError::usage("no station is named: use --config FILE or --state DIR").with_hint(format!(
        "{CONFIG_VARIABLE} names the service's configuration for all commands, STATIONMASTER_STATE a development station's directory"
    ))
}
