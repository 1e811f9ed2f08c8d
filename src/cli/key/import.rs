//! `key import`: puts a station's registered key from a PEM file into the token.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::json;
use stationmaster_keystore::{
    KeyDescription, KeystoreError,
    admin::{self, GeneratedKey},
    software::{FileKey, FileKeyError},
};
use stationmaster_train::keys::spki_fingerprint;

use super::{
    generate::check_label_is_new,
    key_for::KeyFor,
    lifecycle::station::states_file,
    trial_settings::{signs_nothing, trial_settings},
    view::KeyView,
};
use crate::{
    audit::Event,
    authz::Purpose,
    cli::{
        admin_audit::{
            self,
            four_eyes::{self, FourEyesArgs, Proposal},
        },
        error::{CliError, Exit},
        key_file::{self, ExpectedKind},
        output::Output,
        passphrase::passphrase,
        token::trial,
        token_access::{DirectArgs, PinArgs},
    },
    config::{Config, GuardedAct},
    key_states::file,
    ledger::ReasonText,
    protocol::key_usage,
    server::fitness,
};

const AFTER: &str = "\
Puts the RSA key in a PEM file (PKCS#8 or PKCS#1, encrypted or not) into the token:
the key that a train_lib station used and that is registered with the network. The
token then shows it as not generated there, and nothing can prove that no copy of
it exists. Prefer a new key (`key generate`) wherever the network allows one.

The key is then tried in the token, and its public half compared with the file's.
If it cannot serve its purpose there, it is removed from the token again.

Examples:
  stationmaster key import hospital-1 --key private_key.pem --purpose train \\
      --reason \"the key registered with the network\" \\
      --config /etc/stationmaster/stationmaster.toml
  stationmaster key import hospital-1 --key key.pem --passphrase-file secret \\
      --purpose train --reason \"ticket 4711\" --state /tmp/station-1";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, override_usage = "stationmaster key import --key PEM --purpose P --reason TEXT LABEL")]
pub(in crate::cli) struct Args {
    /// The key's label in the token; for a train key the station's id
    label: String,
    /// The file with the private key
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// A file whose first line is the passphrase of the private key; it is asked for at the terminal otherwise
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The purpose of the key
    #[arg(long, value_enum)]
    purpose: KeyFor,
    /// The reason; it is recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    #[command(flatten)]
    four_eyes: FourEyesArgs,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let direct = args.direct.required(&args.pin)?;
    let config = args.direct.station()?.config;
    let purpose = Purpose::from(args.purpose);
    // Everything that can be wrong with the file is found before the token is changed.
    let key = in_file(&args.key, args.passphrase_file.as_deref())?;
    let spki_der = key.spki_der().map_err(|error| CliError::usage(format!("{}: {error}", args.key.display())))?;
    let fingerprint = spki_fingerprint(&spki_der);
    check_label_is_new(&file::read(&states_file(&direct))?, &args.label, purpose)?;

    let entry = admin_audit::entry(Event::KeyImported, "key import");
    let entry = entry.with("label", args.label.as_str()).with("purpose", purpose.name());
    let entry = entry.with("type", "RSA").with("bits", key.bits());
    let entry = entry.with("fingerprint", fingerprint.as_str()).with("reason", args.reason.as_str());
    let parameters = json!({
        "label": args.label,
        "purpose": purpose.name(),
        "fingerprint": fingerprint,
        "reason": args.reason.as_str(),
    });
    let proposal = Proposal { act: GuardedAct::KeyImport, command: "key import", parameters, reason: Some(&args.reason) };
    let permit = four_eyes::permit(Some(&config), &proposal, &args.four_eyes)?;
    // The trial is part of the act: the record of a key that was removed again says so.
    let made = admin_audit::carry_out_guarded(&direct.audit, entry, permit, || {
        let made = admin::import_key(&direct.access, &args.label, key_usage(purpose), &key)?;
        let description = prove(args, &config, direct.access.clone(), &direct.audit, &made.description)?;
        Ok::<_, CliError>(GeneratedKey { description, ..made })
    })?;
    drop(key);

    let view = KeyView::new(made.description, Some(purpose.name()));
    let mut notes = vec![format!(
        "the token cannot make copies disappear: remove {0} and its backups when trains were opened with the imported key (shred -u {0}; on \
         flash storage and in snapshots remains stay), and replace the key with one generated in the token when the network allows it \
         (docs/key-rotation.md)",
        args.key.display()
    )];
    if let Some(mode) = open_to_others(&args.key) {
        notes.push(format!("{} was readable by other users (mode {mode:03o}): they may have a copy", args.key.display()));
    }
    if !made.mechanisms_restricted {
        notes.push("this token does not restrict the key's mechanisms; only the service restricts it to its purpose".to_owned());
    }
    let mut value = view.json();
    value["mechanisms_restricted"] = made.mechanisms_restricted.into();
    value["warnings"] = notes.clone().into();
    output.result(&value, || {
        let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
        format!("Imported\n{}{notes}", view.people())
    });
    Ok(())
}

/// Reads the key, and asks for its passphrase if it is encrypted.
fn in_file(path: &Path, passphrase_file: Option<&Path>) -> Result<FileKey, CliError> {
    let pem = key_file::pem(path, ExpectedKind::PrivateKey)?;
    let secret = FileKey::is_encrypted(&pem).then(|| passphrase(passphrase_file, "--passphrase-file")).transpose()?;
    FileKey::from_pem(&pem, secret.as_ref()).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        match error {
            FileKeyError::WrongPassphrase => CliError::new(Exit::Permission, message),
            _ => CliError::usage(message).with_hint("trains and train_lib use RSA keys; other keys are made with `key generate`"),
        }
    })
}

/// Tries the key in the token. A key that cannot serve its purpose is removed again.
fn prove(
    args: &Args,
    config: &Config,
    access: stationmaster_keystore::TokenAccess,
    audit: &Path,
    made: &KeyDescription,
) -> Result<KeyDescription, CliError> {
    let purpose = Purpose::from(args.purpose);
    let token = config.tokens.select(args.pin.choice.token.as_deref()).map_err(CliError::usage)?;
    let settings = trial_settings(token, access.clone(), &args.label, purpose);
    let tried = trial::tried(settings, audit, token.selector().name(), "key import").map_err(CliError::from).and_then(|tried| {
        let key = tried.keys.into_iter().next().filter(|key| key.id == made.id);
        let key = key.ok_or_else(|| KeystoreError::KeyNotFound { label: args.label.clone() })?;
        let lack = fitness::lacks(purpose, &key, config).err().or_else(|| signs_nothing(&key, purpose));
        if let Some(lack) = lack {
            return Err(CliError::new(Exit::Refused, lack));
        }
        Ok(key)
    });
    tried.map_err(|error| match admin::destroy_key(&access, &args.label, made.id) {
        Ok(_) => CliError { message: format!("{}; the key was removed from the token again", error.message), ..error },
        Err(left) => CliError {
            message: format!("{}; the key is still in the token, because it could not be removed: {left}", error.message),
            ..error
        },
    })
}

/// Returns the mode of a file that others may read.
fn open_to_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}
