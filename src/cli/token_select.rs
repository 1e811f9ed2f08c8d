//! Selects a token by a configuration, or by module and label, without a login.

use std::path::PathBuf;

use stationmaster_keystore::{ModuleConfig, TokenSelector, softhsm};
use stationmaster_system::memory;

use super::{error::CliError, module_crash, token_access::config_of_environment};
use crate::{
    config::{Config, TokenConfig},
    server::open_tokens,
};

/// Selects a token.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TokenSelect {
    /// Take module, label and user PIN from this configuration (STATIONMASTER_CONFIG)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["module", "label"])]
    config: Option<PathBuf>,
    /// The PKCS#11 module; SoftHSM's by default
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The token's label
    #[arg(long)]
    label: Option<String>,
    /// Which of the configuration's tokens: its label, serial number or PKCS#11 URI
    #[arg(long, conflicts_with_all = ["module", "label"])]
    token: Option<String>,
}

/// A selected token.
pub(super) struct SelectedToken {
    pub config: Option<Config>,
    /// The token's settings, if a configuration is named.
    pub settings: Option<TokenConfig>,
    pub module: ModuleConfig,
    pub selector: TokenSelector,
    /// The file that remembers rejected PINs, if a configuration is named.
    pub latch: Option<PathBuf>,
}

impl TokenSelect {
    /// Finds what the options name. Protects the process, which will read a PIN.
    pub(super) fn resolve(&self) -> Result<SelectedToken, CliError> {
        memory::protect_process().map_err(|error| CliError::other(format!("the process cannot be protected: {error}")))?;
        let of_environment = || if self.label.is_none() && self.module.is_none() { config_of_environment() } else { None };
        let file = self.config.clone().or_else(of_environment);
        let Some(config) = file.as_deref().map(Config::load).transpose()? else {
            return self.named();
        };
        let token = config.tokens.select(self.token.as_deref()).map_err(CliError::usage)?.clone();
        module_crash::guard(&[&token.module])?;
        let latch = open_tokens::pin_latch(&config, &token)?;
        let (module, selector) = (token.module(), token.selector());
        Ok(SelectedToken { config: Some(config), settings: Some(token), module, selector, latch: Some(latch) })
    }

    /// Returns the token that module and label name.
    fn named(&self) -> Result<SelectedToken, CliError> {
        let label = self.label.clone().ok_or_else(|| {
            CliError::usage("no token is named: use --config FILE or --label LABEL")
                .with_hint("STATIONMASTER_CONFIG names the service's configuration for all commands")
        })?;
        let module = self.module.clone().or_else(softhsm::find_module).map(ModuleConfig::from);
        let module = module.ok_or_else(|| CliError::usage("no --module is given, and SoftHSM's was not found"))?;
        module_crash::guard(&[&module.path])?;
        Ok(SelectedToken { config: None, settings: None, module, selector: TokenSelector::label(label), latch: None })
    }
}
