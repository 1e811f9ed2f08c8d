//! `key generate`: always at the token itself; the service makes no keys.

use clap::ValueEnum;
use serde_json::Value;

use super::view::KeyView;
use crate::{
    audit::{Entry, Event},
    cli::{direct::DirectArgs, error::CliError, officer, output::Output},
    keystore::{Purpose, admin},
    train::keys::spki_fingerprint,
};

const AFTER: &str = "\
The private half is made in the token, sensitive and never extractable; it cannot be changed later. An existing key is never
replaced. A running service does not see the new key until it is configured and started again.

Examples:
  stationmaster key generate station-1 --purpose train --bits 3072 --config /etc/stationmaster/stationmaster.toml
  stationmaster key generate signer --purpose general --state /tmp/station-1";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The new key's label; for a train key the station's id
    label: String,
    /// What the key is for
    #[arg(long, value_enum)]
    purpose: For,
    /// Size of the modulus
    #[arg(long, default_value = "3072", value_parser = ["2048", "3072", "4096"])]
    bits: String,
    #[command(flatten)]
    direct: DirectArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    /// The station's key on trains' routes
    Train,
    /// Sign and unwrap
    General,
    /// Checkpoints of the audit: signs only, and nothing else may use it
    Audit,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let direct = args.direct.open()?.ok_or_else(|| {
        CliError::usage("which token? --config FILE or --state DIR")
            .with_hint("the service makes no keys: this needs the token itself")
    })?;
    let (purpose, name) = match args.purpose {
        For::Train => (Purpose::Train, "train"),
        For::General => (Purpose::General, "general"),
        For::Audit => (Purpose::Audit, "audit"),
    };
    let bits: u32 = args.bits.parse().map_err(|_| CliError::usage("--bits is not a number"))?;
    let entry = officer::entry(Event::KeyGenerated, "key generate");
    let about = |entry: Entry| entry.with("label", args.label.as_str()).with("purpose", name).with("bits", bits);
    let made = officer::carry_out(&direct.audit, about(entry.clone()), || {
        admin::generate_key(&direct.access, &args.label, purpose, bits)
    })?;
    let fingerprint = spki_fingerprint(&made.info.spki_der);
    officer::record(&direct.audit, Entry { outcome: Some("ok".to_owned()), ..about(entry).with("fingerprint", fingerprint) })?;
    let restricted = made.mechanisms_restricted;
    let key = KeyView::from_info(made.info, name);
    let mut value = key.json();
    value["mechanisms_restricted"] = Value::Bool(restricted);
    output.result(&value, || {
        let note = if restricted {
            ""
        } else {
            "note: this token does not restrict the key's mechanisms; only the service keeps it to its purpose\n"
        };
        format!("Generated\n{}{note}", key.people())
    });
    Ok(())
}
