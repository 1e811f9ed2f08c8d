//! `token list`: the tokens of all slots of a module.

use std::path::PathBuf;

use serde_json::{Value, json};
use stationmaster_keystore::{
    ModuleConfig,
    admin::{self, SlotReport},
    softhsm,
};

use crate::cli::{
    error::CliError,
    module_crash,
    output::{Output, printable, table},
    token_access::StationArgs,
};

const AFTER: &str = "\
Lists the tokens of all slots, as the module describes them: those of a
configuration's modules, or of --module. No login is made. Slot numbers may
change; the URI (RFC 7512) names a token for good.

Examples:
  stationmaster token list --config /etc/stationmaster/stationmaster.toml
  stationmaster token list --module /usr/lib/softhsm/libsofthsm2.so";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The PKCS#11 module, instead of a configuration's; without either SoftHSM's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "state"])]
    module: Option<PathBuf>,
    #[command(flatten)]
    station: StationArgs,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let mut found = Vec::new();
    let modules = modules(args)?;
    module_crash::guard(&modules.iter().map(|module| module.path.as_path()).collect::<Vec<_>>())?;
    for module in modules {
        for token in admin::list_tokens(&module)? {
            found.push((module.path.clone(), token));
        }
    }
    let values: Vec<_> = found.iter().map(|(module, token)| json_of(module, token)).collect();
    output.result(&json!({ "tokens": values }), || people(&found));
    Ok(())
}

/// Returns the modules, each once.
fn modules(args: &Args) -> Result<Vec<ModuleConfig>, CliError> {
    if let Some(module) = &args.module {
        return Ok(vec![module.clone().into()]);
    }
    let Some(station) = args.station.named()? else {
        let module = softhsm::find_module().ok_or_else(|| {
            CliError::usage("no module is named, and SoftHSM's was not found").with_hint("use --config FILE or --module FILE")
        })?;
        return Ok(vec![module.into()]);
    };
    let mut modules: Vec<ModuleConfig> = Vec::new();
    for token in station.config.tokens.all() {
        let module = token.module();
        if !modules.iter().any(|known| known.path == module.path) {
            modules.push(module);
        }
    }
    Ok(modules)
}

fn json_of(module: &std::path::Path, token: &SlotReport) -> Value {
    json!({
        "module": module,
        "slot": token.slot,
        "uri": token.uri.to_string(),
        "label": token.label,
        "serial": token.serial,
        "model": token.model,
        "manufacturer": token.manufacturer,
        "flags": token.flags,
        "free_bytes": { "public": token.free.public, "private": token.free.private },
        "pin_bytes": { "min": token.pin_length.0, "max": (token.pin_length.1 > 0).then_some(token.pin_length.1) },
    })
}

fn people(found: &[(PathBuf, SlotReport)]) -> String {
    let rows = found.iter().map(|(_, token)| {
        vec![
            token.slot.to_string(),
            if token.label.is_empty() { "-".to_owned() } else { printable(&token.label) },
            printable(&token.serial),
            printable(&token.model),
            standing(token),
            free(token),
            token.uri.to_string(),
        ]
    });
    table(&["SLOT", "LABEL", "SERIAL", "MODEL", "STATE", "FREE", "URI"], rows.collect())
}

/// Returns what matters of the flags, in a few words.
pub(in crate::cli) fn standing(token: &SlotReport) -> String {
    let is = |flag: &str| token.flags.get(flag) == Some(&true);
    if !is("initialised") {
        return "not initialised".to_owned();
    }
    let said = [
        (!is("user_pin_set"), "no user PIN"),
        (is("user_pin_locked"), "user PIN LOCKED"),
        (is("user_pin_final_try"), "user PIN FINAL TRY"),
        (is("user_pin_count_low"), "user PIN COUNT LOW"),
        (is("user_pin_to_be_changed"), "user PIN to be changed"),
        (is("so_pin_locked"), "SO PIN LOCKED"),
        (is("so_pin_final_try"), "SO PIN FINAL TRY"),
        (is("so_pin_count_low"), "SO PIN COUNT LOW"),
        (is("write_protected"), "read-only"),
        (is("error_state"), "ERROR STATE"),
    ];
    let said: Vec<_> = said.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect();
    if said.is_empty() { "PIN set".to_owned() } else { said.join(", ") }
}

fn free(token: &SlotReport) -> String {
    match token.free.private.or(token.free.public) {
        Some(bytes) => format!("{} KiB", bytes >> 10),
        None => "not reported".to_owned(),
    }
}
