//! `key generate`: generates a key directly in the token; the service creates no keys.

use std::path::Path;

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;
use stationmaster_keystore::{NewKey, admin};
use stationmaster_train::keys::spki_fingerprint;

use super::{key_for::KeyFor, lifecycle::station::states_file, view::KeyView};
use crate::{
    audit::{Entry, Event},
    authz::Purpose,
    cli::{
        admin_audit,
        error::{CliError, Exit},
        output::Output,
        token_access::{DirectArgs, PinArgs, TokenContext},
    },
    config::Config,
    key_states::{KeyState, KeyStateEntry, KeyStates, file},
    protocol::key_usage,
};

const AFTER: &str = "\
The private key is generated in the token, sensitive and never extractable; its
attributes cannot be changed later. An existing key is never replaced. A running
service uses the new key after it was configured and restarted.

Examples:
  stationmaster key generate station-1 --purpose train --bits 3072 \\
      --config /etc/stationmaster/stationmaster.toml
  stationmaster key generate signer --purpose general --type ec-p256 \\
      --state /tmp/station-1
  stationmaster key generate audit --purpose audit --type ed25519 \\
      --config /etc/stationmaster/stationmaster.toml";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The new key's label; for a train key the station's id
    label: String,
    /// The purpose of the key
    #[arg(long, value_enum)]
    purpose: KeyFor,
    /// The type of the key; trains need RSA, and ec-p384 signs no checkpoints
    #[arg(long = "type", value_enum, default_value = "rsa")]
    key_type: TypeOfKey,
    /// Size of an RSA key's modulus, in bits [default: 3072]
    #[arg(long, value_parser = ["2048", "3072", "4096"])]
    bits: Option<String>,
    /// Generate a train key that is not used before `key activate` or `key rotate`
    #[arg(long)]
    pre_active: bool,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TypeOfKey {
    Rsa,
    EcP256,
    EcP384,
    Ed25519,
}

impl Args {
    /// Returns the key to be generated, if it can serve the purpose.
    fn new_key(&self, purpose: Purpose) -> Result<NewKey, CliError> {
        let new = match (self.key_type, self.bits.as_deref()) {
            (TypeOfKey::Rsa, bits) => {
                NewKey::Rsa { bits: bits.unwrap_or("3072").parse().map_err(|_| CliError::usage("--bits is not a number"))? }
            }
            (_, Some(_)) => {
                return Err(CliError::usage("--bits is for RSA keys; the size of other keys follows from their type"));
            }
            (TypeOfKey::EcP256, None) => NewKey::EcP256,
            (TypeOfKey::EcP384, None) => NewKey::EcP384,
            (TypeOfKey::Ed25519, None) => NewKey::Ed25519,
        };
        match purpose {
            _ if key_usage(purpose).suits(new.key_type()) => Ok(new),
            Purpose::Train => Err(CliError::usage("a train key must be an RSA key").with_hint("leave out --type")),
            _ => Err(CliError::usage(format!("an {} key signs no checkpoints of the audit", new.key_type()))
                .with_hint("--type rsa, ec-p256 or ed25519")),
        }
    }
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let direct = args.direct.required(&args.pin)?;
    let purpose = Purpose::from(args.purpose);
    let name = purpose.name();
    let new = args.new_key(purpose)?;
    if args.pre_active && purpose != Purpose::Train {
        return Err(CliError::usage("only train keys have states").with_hint("leave out --pre-active"));
    }
    let states = states_file(&direct);
    check_label_is_new(&file::read(&states)?, &args.label, purpose)?;
    let entry = admin_audit::entry(Event::KeyGenerated, "key generate");
    let about = |entry: Entry| {
        let entry = entry.with("label", args.label.as_str()).with("purpose", name);
        entry.with("type", new.key_type().name()).with("bits", new.bits())
    };
    let made = admin_audit::carry_out(&direct.audit, about(entry.clone()), || {
        admin::generate_key(&direct.access, &args.label, key_usage(purpose), new)
    })?;
    let fingerprint = spki_fingerprint(&made.description.spki_der);
    admin_audit::record(
        &direct.audit,
        Entry { outcome: Some("ok".to_owned()), ..about(entry).with("fingerprint", fingerprint) },
    )?;
    if args.pre_active {
        set_pre_active(&direct, &states, &args.label)?;
    }
    let restricted = made.mechanisms_restricted;
    let key = KeyView::new(made.description, Some(name));
    let mut notes = Vec::new();
    if !restricted {
        notes.push("this token does not restrict the key's mechanisms; only the service restricts it to its purpose".to_owned());
    }
    notes.extend(direct.config.as_ref().and_then(|config| configuration_note(config, &args.label, purpose)));
    let mut value = key.json();
    value["mechanisms_restricted"] = Value::Bool(restricted);
    value["warnings"] = notes.clone().into();
    output.result(&value, || {
        let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
        format!("Generated\n{}{notes}", key.people())
    });
    Ok(())
}

/// Refuses a label that belonged to a retired key: the new key would be retired, too.
pub(super) fn check_label_is_new(states: &KeyStates, label: &str, purpose: Purpose) -> Result<(), CliError> {
    if purpose != Purpose::Train || states.state(label, Timestamp::now()) != KeyState::Retired {
        return Ok(());
    }
    Err(CliError::new(Exit::State, format!("the train key {label:?} was retired")).with_hint("use another label"))
}

/// Stores that the new key is not yet used. The service does not use it before it was configured and restarted, so this is in time.
fn set_pre_active(direct: &TokenContext, states: &Path, label: &str) -> Result<(), CliError> {
    let entry = admin_audit::entry(Event::KeyStateChanged, "key generate").with("label", label).with("state", "pre-active");
    admin_audit::carry_out(&direct.audit, entry, || {
        file::update(states, |states| {
            let made = KeyStateEntry::new(KeyState::PreActive, Timestamp::now());
            states.set(label, made).map(drop).map_err(CliError::usage)
        })
    })
}

/// Returns a note if the configuration does not name the new key for its purpose: the service would not use it.
fn configuration_note(config: &Config, label: &str, purpose: Purpose) -> Option<String> {
    let (train, general) = (config.keys.train.iter(), config.keys.general.iter());
    let mut named = train.map(|label| (label, Purpose::Train)).chain(general.map(|label| (label, Purpose::General)));
    let as_purpose = named
        .find_map(|(named, purpose)| (named == label).then_some(purpose))
        .or_else(|| (config.audit.key == label).then_some(Purpose::Audit))
        .or_else(|| (config.tls_key()?.object.as_deref() == Some(label)).then_some(Purpose::Tls));
    let add = match purpose {
        Purpose::Train => "`train` in [keys]",
        Purpose::General => "`general` in [keys]",
        Purpose::Audit => "`key` in [audit]",
        Purpose::Tls => "`key` in [listen.tcp], as pkcs11:object=LABEL",
    };
    match as_purpose {
        Some(of) if of == purpose => None,
        Some(of) => Some(format!(
            "the purpose of the new key is {}, but the configuration names {label:?} for {}",
            purpose.name(),
            of.name()
        )),
        None => Some(format!("the configuration does not name {label:?}, so the service will not use it: add it to {add}")),
    }
}
