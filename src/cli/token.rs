//! `token init`: make a token.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    error::CliError,
    officer,
    output::{Output, fields},
};
use crate::{
    audit::Event,
    config::{Config, PinSetting},
    keystore::{admin, pin, softhsm},
};

const AFTER: &str = "\
Takes the first token of the module that is not initialised yet, gives it the label, the officer's PIN and the user PIN. PINs
are read from files, systemd credentials, the environment (STATIONMASTER_SO_PIN, STATIONMASTER_PIN) or the terminal; never
from the command line.

Examples:
  stationmaster token init --config /etc/stationmaster/stationmaster.toml
  stationmaster token init --module /usr/lib/softhsm/libsofthsm2.so --label pht --so-pin-file so.pin --pin-file user.pin";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Initialise a token
    Init(Init),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Init {
    /// Take module, label and user PIN from this configuration
    #[arg(long, value_name = "FILE", conflicts_with_all = ["module", "label"])]
    config: Option<PathBuf>,
    /// The PKCS#11 module; SoftHSM's when it is found
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The new token's label
    #[arg(long, required_unless_present = "config")]
    label: Option<String>,
    /// A file with the security officer's PIN
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PathBuf>,
    /// A file with the user PIN
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    let Command::Init(args) = command;
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let module = config.as_ref().map(|config| config.token.module.clone()).or(args.module.clone()).or_else(softhsm::find_module);
    let module = module.ok_or_else(|| CliError::usage("no --module given, and SoftHSM's was not found"))?;
    // clap has made sure of one of the two.
    let label = config.as_ref().map(|config| config.token.label.clone()).or(args.label.clone()).unwrap_or_default();
    let officer = match &args.so_pin_file {
        Some(file) => pin::resolve(Some(file), None, None, false)?.read()?,
        None if std::env::var_os("STATIONMASTER_SO_PIN").is_some() => {
            pin::resolve(None, Some("STATIONMASTER_SO_PIN"), None, false)?.read()?
        }
        None => ask_twice("New security officer PIN")?,
    };
    let user = user_pin(&args, config.as_ref())?;
    if let Some(config) = &config {
        let entry = officer::entry(Event::TokenInitialised, "token init").with("label", label.as_str());
        officer::record(&config.audit_directory(), entry)?;
    }
    let serial = admin::init_token(&module, &label, &officer, &user)?;
    output.result(&json!({ "label": label, "serial": serial, "module": module }), || {
        fields(&[("Initialised", label.clone()), ("Serial", serial.clone()), ("Module", module.display().to_string())])
    });
    Ok(())
}

fn user_pin(args: &Init, config: Option<&Config>) -> Result<SecretString, CliError> {
    let setting = match (&args.pin_file, config) {
        (Some(file), _) => PinSetting::File(file.clone()),
        (None, Some(config)) => config.token.pin(),
        (None, None) if std::env::var_os("STATIONMASTER_PIN").is_some() => PinSetting::Env("STATIONMASTER_PIN".into()),
        (None, None) => PinSetting::Prompt,
    };
    Ok(match setting {
        PinSetting::File(file) => pin::resolve(Some(&file), None, None, false)?.read()?,
        PinSetting::Credential(name) => pin::resolve(None, None, Some(&name), false)?.read()?,
        PinSetting::Env(name) => pin::resolve(None, Some(&name), None, false)?.read()?,
        PinSetting::Prompt => ask_twice("New user PIN")?,
    })
}

/// A new PIN that is mistyped once locks its token for good.
fn ask_twice(what: &str) -> Result<SecretString, CliError> {
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map(SecretString::from).map_err(|error| {
            CliError::usage(format!("the terminal could not be asked: {error}"))
                .with_hint("name files: --so-pin-file, --pin-file")
        })
    };
    let first = ask(format!("{what}: "))?;
    let second = ask(format!("{what}, again: "))?;
    if first.expose_secret() != second.expose_secret() || first.expose_secret().is_empty() {
        return Err(CliError::usage("the two PINs differ, or are empty"));
    }
    Ok(first)
}
