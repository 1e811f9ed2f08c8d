//! `token init`: initialises a token and sets its PINs.

use serde_json::json;
use stationmaster_keystore::admin;

use crate::{
    audit::Event,
    cli::{
        admin_audit,
        error::CliError,
        output::{Output, fields},
        pin::{self, NewPins},
        pin_input::PinPlace,
        token_select::TokenSelect,
    },
};

const AFTER: &str = "\
Initialises the first uninitialised token of the module, and sets label, SO PIN
and user PIN. The SO PIN (CKU_SO) can replace a user PIN that is locked or lost:
store it where the service cannot read it. PINs are read from files (the first
line), `-` (standard input), `fd:N`, systemd credentials, the environment
(STATIONMASTER_SO_PIN, STATIONMASTER_PIN) or the terminal; never from the command
line. Their lengths are checked before anything is written.

Examples:
  stationmaster token init --config /etc/stationmaster/stationmaster.toml
  stationmaster token init --module /usr/lib/softhsm/libsofthsm2.so \\
      --label pht --so-pin-file so.pin --pin-file user.pin";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    token: TokenSelect,
    /// A file whose first line is the SO PIN, `-` or `fd:N`
    #[arg(long, value_name = "FILE")]
    so_pin_file: Option<PinPlace>,
    /// A file whose first line is the user PIN, `-` or `fd:N`
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PinPlace>,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let token = args.token.resolve()?;
    let new = NewPins { so: args.so_pin_file.as_ref(), so_is_new: true, user: args.pin_file.as_ref(), option: "--pin-file" };
    let (so_pin, user_pin) = new.read(&token)?;
    let Some(label) = &token.selector.label else {
        return Err(CliError::usage("the configuration names the token by serial number, and a new token needs a label")
            .with_hint("name the token by `label`"));
    };
    let make = || admin::init_token(&token.module, label, &so_pin, &user_pin);
    let serial =
        pin::recorded(&token, admin_audit::entry(Event::TokenInitialised, "token init").with("label", label.as_str()), make)?;
    let module = &token.module.path;
    output.result(&json!({ "label": label, "serial": serial, "module": module }), || {
        fields(&[("Initialised", label.clone()), ("Serial", serial.clone()), ("Module", module.display().to_string())])
    });
    Ok(())
}
