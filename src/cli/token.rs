//! `token init|set-pin|show`: initialises a token; sets its user PIN with the SO PIN; shows what tokens say of themselves.

mod show;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use stationmaster_keystore::{KeystoreError, ModuleConfig, TokenSelector, admin, pin, softhsm};

use super::{
    admin_audit,
    error::CliError,
    module_crash,
    output::{Output, fields},
    token_access::config_of_environment,
};
use crate::{
    audit::Event,
    config::{Config, PinSetting, TokenConfig},
    server::open_tokens,
};

const INIT: &str = "\
Initialises the first uninitialised token of the module, and sets label, SO PIN
and user PIN. The SO PIN (CKU_SO) can replace a user PIN that is locked or lost:
store it where the service cannot read it. PINs are read from files (the first
line), systemd credentials, the environment (STATIONMASTER_SO_PIN,
STATIONMASTER_PIN) or the terminal; never from the command line. Their lengths
are checked before anything is written.

Examples:
  stationmaster token init --config /etc/stationmaster/stationmaster.toml
  stationmaster token init --module /usr/lib/softhsm/libsofthsm2.so \\
      --label pht --so-pin-file so.pin --pin-file user.pin";

const SET_PIN: &str = "\
Logs in with the SO PIN and sets the user PIN of a token that has none yet. With
--replace it replaces a user PIN that is locked or lost; a running service then
needs the new PIN at its source before its next login. Keys are not changed.

Examples:
  stationmaster token set-pin --config /etc/stationmaster/stationmaster.toml
  stationmaster token set-pin --module /usr/lib/softhsm/libsofthsm2.so \\
      --label pht --so-pin-file so.pin --pin-file user.pin --replace";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Initialise a token
    #[command(after_help = INIT)]
    Init(TokenArgs),
    /// Set the user PIN of a token with its SO PIN
    #[command(after_help = SET_PIN)]
    SetPin(SetPin),
    /// Show what tokens say of themselves, and what works with each key
    Show(show::Args),
}

/// Selects a token and its PINs.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// Take module, label and user PIN from this configuration (STATIONMASTER_CONFIG)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["module", "label"])]
    config: Option<PathBuf>,
    /// The PKCS#11 module; SoftHSM's by default
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The token's label
    #[arg(long)]
    label: Option<String>,
    /// A file whose first line is the SO PIN
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
    /// A file whose first line is the user PIN
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// Which of the configuration's tokens: its label, serial number or PKCS#11 URI
    #[arg(long, conflicts_with_all = ["module", "label"])]
    token: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct SetPin {
    #[command(flatten)]
    token_args: TokenArgs,
    /// The token's serial number, if labels are not unique
    #[arg(long)]
    serial: Option<String>,
    /// Replace the user PIN of a token that has one
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Init(token_args) => init(&token_args, output),
        Command::SetPin(args) => set_pin(&args, output),
        Command::Show(args) => show::run(&args, output),
    }
}

fn init(token_args: &TokenArgs, output: Output) -> Result<(), CliError> {
    let TokenInputs { config, module, token, so_pin, user_pin, .. } = token_args.resolve()?;
    let Some(label) = token.label else {
        return Err(CliError::usage("the configuration names the token by serial number, and a new token needs a label")
            .with_hint("name the token by `label`"));
    };
    let make = || admin::init_token(&module, &label, &so_pin, &user_pin);
    let serial = recorded(config.as_ref(), Event::TokenInitialised, "token init", &label, make)?;
    output.result(&json!({ "label": label, "serial": serial, "module": module.path }), || {
        fields(&[("Initialised", label.clone()), ("Serial", serial.clone()), ("Module", module.path.display().to_string())])
    });
    Ok(())
}

fn set_pin(args: &SetPin, output: Output) -> Result<(), CliError> {
    let TokenInputs { config, module, mut token, so_pin, user_pin, latch } = args.token_args.resolve()?;
    if args.serial.is_some() {
        token.serial.clone_from(&args.serial);
    }
    let set = || admin::set_user_pin(&module, &token, &so_pin, &user_pin, args.replace);
    let label = token.name();
    let serial = recorded(config.as_ref(), Event::UserPinSet, "token set-pin", label, set)?;
    if let Some(latch) = &latch {
        permit_again(latch)?;
    }
    output.result(&json!({ "label": label, "serial": serial, "module": module.path }), || {
        fields(&[("User PIN set", label.to_owned()), ("Serial", serial.clone()), ("Module", module.path.display().to_string())])
    });
    Ok(())
}

/// Removes the file of rejected PINs: the new PIN may be one of them.
fn permit_again(latch: &Path) -> Result<(), CliError> {
    match fs::remove_file(latch) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CliError::file("remove", latch, &error)),
        _ => Ok(()),
    }
}

/// Carries out an action, and records it in the audit log if a configuration is named.
fn recorded(
    config: Option<&Config>,
    event: Event,
    command: &str,
    label: &str,
    action: impl FnOnce() -> Result<String, KeystoreError>,
) -> Result<String, CliError> {
    match config {
        None => Ok(action()?),
        Some(config) => {
            admin_audit::carry_out(&config.audit_directory(), admin_audit::entry(event, command).with("label", label), action)
        }
    }
}

/// The selected token, and its PINs.
struct TokenInputs {
    config: Option<Config>,
    module: ModuleConfig,
    token: TokenSelector,
    so_pin: SecretString,
    user_pin: SecretString,
    /// The file that remembers rejected PINs, if a configuration is named.
    latch: Option<PathBuf>,
}

impl TokenArgs {
    fn resolve(&self) -> Result<TokenInputs, CliError> {
        let of_environment = || if self.label.is_none() && self.module.is_none() { config_of_environment() } else { None };
        let file = self.config.clone().or_else(of_environment);
        let config = file.as_deref().map(Config::load).transpose()?;
        let configured = match &config {
            Some(config) => Some(config.tokens.select(self.token.as_deref()).map_err(CliError::usage)?),
            None => None,
        };
        let (module, token) = match configured {
            Some(token) => (Some(token.module()), token.selector()),
            None => {
                let label = self.label.clone().ok_or_else(|| {
                    CliError::usage("no token is named: use --config FILE or --label LABEL")
                        .with_hint("STATIONMASTER_CONFIG names the service's configuration for all commands")
                })?;
                (self.module.clone().or_else(softhsm::find_module).map(ModuleConfig::from), TokenSelector::label(label))
            }
        };
        let module = module.ok_or_else(|| CliError::usage("no --module is given, and SoftHSM's was not found"))?;
        module_crash::guard(&[&module.path])?;
        let so_pin = match &self.so_pin_file {
            Some(file) => pin::resolve(Some(file), None, None, false)?.read()?,
            None if std::env::var_os("STATIONMASTER_SO_PIN").is_some() => {
                pin::resolve(None, Some("STATIONMASTER_SO_PIN"), None, false)?.read()?
            }
            None => prompt_twice("SO PIN", "--so-pin-file")?,
        };
        let user_pin = self.user_pin(configured)?;
        if so_pin.expose_secret() == user_pin.expose_secret() {
            return Err(CliError::usage(
                "the SO PIN and the user PIN are the same: the service has the user PIN, and could then also set PINs",
            )
            .with_hint(self.equal_pins_hint(configured)));
        }
        let latch = match (&config, configured) {
            (Some(config), Some(token)) => Some(open_tokens::pin_latch(config, token)?),
            _ => None,
        };
        Ok(TokenInputs { config, module, token, so_pin, user_pin, latch })
    }

    /// Returns the remedy if both PINs are the same.
    fn equal_pins_hint(&self, token: Option<&TokenConfig>) -> String {
        let configured = token.and_then(|token| match token.pin() {
            PinSetting::File(file) => Some(file),
            _ => None,
        });
        let user = self.pin_file.clone().or(configured);
        let real = |file: &PathBuf| file.canonicalize().ok();
        match (&self.so_pin_file, &user) {
            (Some(so), Some(user)) if so == user || (real(so).is_some() && real(so) == real(user)) => {
                format!(
                    "{} is used for both: write the SO PIN into another file, token_args the service cannot read",
                    so.display()
                )
            }
            _ => "choose another SO PIN, and store it where the service cannot read it".to_owned(),
        }
    }

    fn user_pin(&self, token: Option<&TokenConfig>) -> Result<SecretString, CliError> {
        let setting = match (&self.pin_file, token) {
            (Some(file), _) => PinSetting::File(file.clone()),
            (None, Some(token)) => token.pin(),
            (None, None) if std::env::var_os("STATIONMASTER_PIN").is_some() => PinSetting::Env("STATIONMASTER_PIN".into()),
            (None, None) => PinSetting::Prompt,
        };
        Ok(match setting {
            PinSetting::File(file) => pin::resolve(Some(&file), None, None, false)?.read()?,
            PinSetting::Credential(name) => pin::resolve(None, None, Some(&name), false)?.read()?,
            PinSetting::Env(name) => pin::resolve(None, Some(&name), None, false)?.read()?,
            PinSetting::Prompt => prompt_twice("user PIN", "--pin-file")?,
        })
    }
}

/// Reads a new PIN twice, because a mistyped PIN would lock the token permanently.
fn prompt_twice(what: &str, option: &str) -> Result<SecretString, CliError> {
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map(SecretString::from).map_err(|_| {
            CliError::usage(format!("no {what} is named, and there is no terminal to read it from"))
                .with_hint(format!("name a file whose first line is the {what}: {option} FILE"))
        })
    };
    let first = ask(format!("{what}: "))?;
    let second = ask(format!("{what}, again: "))?;
    if first.expose_secret() != second.expose_secret() || first.expose_secret().is_empty() {
        return Err(CliError::usage(format!("the two entries of the {what} differ, or are empty")));
    }
    Ok(first)
}
