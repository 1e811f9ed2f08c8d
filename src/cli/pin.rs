//! `pin change|unblock|set`: changes, replaces or sets the user PIN of a token.

use std::{fs, io, path::Path};

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use stationmaster_keystore::{KeystoreError, TokenAccess, admin, pin::PinSource};

use super::{
    admin_audit,
    error::CliError,
    output::{Output, fields},
    pin_input::{self, PinPlace, prompt, prompt_twice},
    token_select::{SelectedToken, TokenSelect},
};
use crate::{
    audit::{Entry, Event},
    config::PinSetting,
};

/// What holds for all three commands.
const SOURCES: &str = "\
PINs are read from files (the first line; mode 0600), `-` (standard input, a line
for each), `fd:N` or the terminal, where a new PIN is typed twice; never from the
command line. The token's limits of their length are checked before anything is
changed. A wrong PIN is tried once. A running service keeps its login, and needs
the new PIN at its source for the next one. Keys are not changed.";

const CHANGE: &str = "\
Logs in with the user PIN and changes it. A PIN that the token refused before is
not tried, as at every login.

Examples:
  stationmaster pin change --config /etc/stationmaster/stationmaster.toml
  stationmaster pin change --module /usr/lib/softhsm/libsofthsm2.so \\
      --label pht --pin-file user.pin --new-pin-file new.pin";

const UNBLOCK: &str = "\
Logs in with the SO PIN and replaces a user PIN that is locked or lost. PINs that
the token refused are then permitted again. Without --new-pin-file the new PIN is
the one at the configuration's source, or is asked for.

Examples:
  stationmaster pin unblock --config /etc/stationmaster/stationmaster.toml
  stationmaster pin unblock --module /usr/lib/softhsm/libsofthsm2.so \\
      --label pht --so-pin-file so.pin --new-pin-file user.pin";

const SET: &str = "\
Logs in with the SO PIN and sets the user PIN of a token that has none yet, as
after an interrupted `token init`. Without --new-pin-file the PIN is the one at
the configuration's source, or is asked for.

Examples:
  stationmaster pin set --config /etc/stationmaster/stationmaster.toml
  stationmaster pin set --module /usr/lib/softhsm/libsofthsm2.so \\
      --label pht --serial 2a7f3c --so-pin-file so.pin --new-pin-file user.pin";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Change the user PIN with the user PIN
    #[command(after_help = CHANGE, after_long_help = format!("{CHANGE}\n\n{SOURCES}"))]
    Change(Change),
    /// Replace a locked or lost user PIN with the SO PIN
    #[command(after_help = UNBLOCK, after_long_help = format!("{UNBLOCK}\n\n{SOURCES}"))]
    Unblock(BySo),
    /// Set the user PIN of a token that has none, with the SO PIN
    #[command(after_help = SET, after_long_help = format!("{SET}\n\n{SOURCES}"))]
    Set(BySo),
}

/// Selects a token, with its serial number if there are several of one label.
#[derive(Debug, clap::Args)]
struct Target {
    #[command(flatten)]
    token: TokenSelect,
    /// The token's serial number, if labels are not unique
    #[arg(long)]
    serial: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Change {
    #[command(flatten)]
    target: Target,
    /// The present PIN, if it is not at the configuration's source: a file, `-` or `fd:N`
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PinPlace>,
    /// The new PIN: a file whose first line it is, `-` or `fd:N`
    #[arg(long, value_name = "FILE")]
    new_pin_file: Option<PinPlace>,
}

#[derive(Debug, clap::Args)]
pub(super) struct BySo {
    #[command(flatten)]
    target: Target,
    /// A file whose first line is the SO PIN, `-` or `fd:N`
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PinPlace>,
    /// The new user PIN: a file whose first line it is, `-` or `fd:N`
    #[arg(long, value_name = "FILE")]
    new_pin_file: Option<PinPlace>,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Change(args) => change(&args, output),
        Command::Unblock(args) => by_so(&args, "pin unblock", output),
        Command::Set(args) => by_so(&args, "pin set", output),
    }
}

impl Target {
    fn resolve(&self) -> Result<SelectedToken, CliError> {
        let mut token = self.token.resolve()?;
        if self.serial.is_some() {
            token.selector.serial.clone_from(&self.serial);
        }
        Ok(token)
    }
}

fn change(args: &Change, output: Output) -> Result<(), CliError> {
    let token = args.target.resolve()?;
    let present = match (&args.pin_file, &token.settings) {
        // A file stays the PIN's source, so that messages name it.
        (Some(PinPlace::File(file)), _) => stationmaster_keystore::pin::resolve(Some(file), None, None, false)?,
        (Some(place), _) => PinSource::keep(&place.read()?)?,
        (None, settings) => match (settings.as_ref().map(|token| token.pin()), settings) {
            (Some(PinSetting::File(file)), _) => stationmaster_keystore::pin::resolve(Some(&file), None, None, false)?,
            (_, Some(settings)) => match pin_input::configured(settings)? {
                Some(pin) => PinSource::keep(&pin)?,
                None => PinSource::keep(&prompt("user PIN", "--pin-file")?)?,
            },
            _ => PinSource::keep(&prompt("user PIN", "--pin-file")?)?,
        },
    };
    let new = match &args.new_pin_file {
        Some(place) => place.read()?,
        None => prompt_twice("new user PIN", "--new-pin-file")?,
    };
    if present.read()?.expose_secret() == new.expose_secret() {
        return Err(CliError::usage("the new PIN is the present one; nothing was changed").with_hint("choose another PIN"));
    }
    let access =
        TokenAccess { pin_latch: token.latch.clone(), ..TokenAccess::new(token.module.clone(), token.selector.clone(), present) };
    finish(&token, "pin change", output, || admin::change_user_pin(&access, &new))
}

fn by_so(args: &BySo, command: &str, output: Output) -> Result<(), CliError> {
    let token = args.target.resolve()?;
    let new =
        NewPins { so: args.so_pin_file.as_ref(), so_is_new: false, user: args.new_pin_file.as_ref(), option: "--new-pin-file" };
    let (so_pin, user_pin) = new.read(&token)?;
    let replace = command == "pin unblock";
    finish(&token, command, output, || admin::set_user_pin(&token.module, &token.selector, &so_pin, &user_pin, replace))
}

/// Carries out the change with its record, permits refused PINs again, and says what is left to do.
fn finish(
    token: &SelectedToken,
    command: &str,
    output: Output,
    action: impl FnOnce() -> Result<String, KeystoreError>,
) -> Result<(), CliError> {
    let label = token.selector.name();
    let serial = recorded(token, admin_audit::entry(Event::UserPinSet, command).with("label", label), action)?;
    if let Some(latch) = &token.latch {
        permit_again(latch)?;
    }
    let next = match token.settings.as_ref().map(|token| token.pin()) {
        Some(PinSetting::File(file)) => {
            format!("the new PIN must be in {} (mode 0600) before the service's next login", file.display())
        }
        Some(PinSetting::Credential(name)) => {
            format!("the new PIN must be the credential {name:?} before the service's next start")
        }
        Some(PinSetting::Env(name)) => format!("the new PIN must be in {name} before the service's next start"),
        Some(PinSetting::Prompt) | None => String::new(),
    };
    let module = &token.module.path;
    output.result(
        &json!({ "label": label, "serial": serial, "module": module, "next": (!next.is_empty()).then_some(&next) }),
        || {
            fields(&[
                ("User PIN set", label.to_owned()),
                ("Serial", serial.clone()),
                ("Module", module.display().to_string()),
                ("Next", next.clone()),
            ])
        },
    );
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
pub(super) fn recorded(
    token: &SelectedToken,
    entry: Entry,
    action: impl FnOnce() -> Result<String, KeystoreError>,
) -> Result<String, CliError> {
    match &token.config {
        None => Ok(action()?),
        Some(config) => admin_audit::carry_out(&config.audit_directory(), entry, action),
    }
}

/// Where the SO PIN and the new user PIN are.
pub(super) struct NewPins<'a> {
    pub so: Option<&'a PinPlace>,
    /// Whether the token gets this SO PIN, too: it is then typed twice.
    pub so_is_new: bool,
    pub user: Option<&'a PinPlace>,
    /// The option that names the user PIN.
    pub option: &'a str,
}

impl NewPins<'_> {
    /// Reads the SO PIN, then the user PIN, which must differ.
    pub(super) fn read(&self, token: &SelectedToken) -> Result<(SecretString, SecretString), CliError> {
        let so_pin = match (self.so, pin_input::of_variable("STATIONMASTER_SO_PIN")?) {
            (Some(place), _) => place.read()?,
            (None, Some(pin)) => pin,
            (None, None) if self.so_is_new => prompt_twice("SO PIN", "--so-pin-file")?,
            (None, None) => prompt("SO PIN", "--so-pin-file")?,
        };
        let user_pin = self.user_pin(token)?;
        if so_pin.expose_secret() == user_pin.expose_secret() {
            return Err(CliError::usage(
                "the SO PIN and the user PIN are the same: the service has the user PIN, and could then also set PINs",
            )
            .with_hint(self.equal_pins_hint(token)));
        }
        Ok((so_pin, user_pin))
    }

    fn user_pin(&self, token: &SelectedToken) -> Result<SecretString, CliError> {
        if let Some(place) = self.user {
            return Ok(place.read()?);
        }
        let found = match &token.settings {
            Some(settings) => pin_input::configured(settings)?,
            None => pin_input::of_variable("STATIONMASTER_PIN")?,
        };
        found.map_or_else(|| prompt_twice("user PIN", self.option), Ok)
    }

    /// Returns the remedy if both PINs are the same.
    fn equal_pins_hint(&self, token: &SelectedToken) -> String {
        let configured = token.settings.as_ref().and_then(|token| match token.pin() {
            PinSetting::File(file) => Some(file),
            _ => None,
        });
        let user = self.user.map_or(configured, |place| place.file().cloned());
        let real = |file: &Path| file.canonicalize().ok();
        match (self.so.and_then(PinPlace::file), &user) {
            (Some(so), Some(user)) if so == user || (real(so).is_some() && real(so) == real(user)) => {
                format!("{} is used for both: write the SO PIN into another file, where the service cannot read it", so.display())
            }
            _ => "choose another SO PIN, and store it where the service cannot read it".to_owned(),
        }
    }
}
