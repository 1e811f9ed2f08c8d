//! `key generate|list|show|export|activate|rotate|retire|verify|destroy`.

mod destroy;
mod export;
mod generate;
mod import;
mod jwk;
mod key_for;
mod lifecycle;
mod ssh;
mod state_view;
mod states;
mod trial_settings;
mod verify;
mod view;

use serde_json::json;
use state_view::StateView;
use stationmaster_keystore::{
    KeystoreError, Pkcs11Uri, admin,
    admin::{OtherKey, TokenContents},
};
use stationmaster_proto as pb;
use view::KeyView;

use super::{
    client::{self, ClientArgs},
    error::{CliError, Exit},
    output::{Output, table, yes},
    token_access::{DirectArgs, PinArgs},
};
use crate::key_states::KeyState;

const SOURCE: &str = "\
Uses the running service; with --config FILE or --state DIR the token itself,
with the PIN that they name.";

const EXAMPLES: &str = "\
Examples:
  stationmaster key generate station-1 --purpose train \\
      --config /etc/stationmaster/stationmaster.toml
  stationmaster key list
  stationmaster key show station-1
  stationmaster key export --format hex-pem station-1   # for the registry";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// Generate a key pair in the token
    Generate(generate::Args),
    /// List the keys
    #[command(after_help = SOURCE)]
    List(Source),
    /// Show a key and the mechanisms that the token supports for it
    #[command(after_help = SOURCE)]
    Show(Show),
    /// Print a public key
    Export(export::Args),
    /// Put a train key into use
    Activate(lifecycle::activate::Args),
    /// Replace a train key by another one
    Rotate(lifecycle::rotate::Args),
    /// End the use of a train key for ever
    Retire(lifecycle::retire::Args),
    /// Try a key with every scheme, and check how it was made
    Verify(verify::Args),
    /// Put a key from a PEM file into the token
    Import(import::Args),
    /// Erase a key from the token
    Destroy(destroy::Args),
}

/// Selects the service or a token.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Source {
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The key's label or PKCS#11 URI
    label: String,
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(command: Command, output: Output) -> Result<Exit, CliError> {
    match command {
        // It has an exit code for a completed check that failed.
        Command::Verify(args) => return verify::run(&args, output),
        Command::Destroy(args) => destroy::run(&args, output),
        Command::Import(args) => import::run(&args, output),
        Command::Generate(args) => generate::run(&args, output),
        Command::List(source) => {
            let (keys, others) = source.all()?;
            let shown: Vec<_> = keys.iter().map(KeyView::json).collect();
            let unusable: Vec<_> = others.iter().map(|key| json!({ "label": key.label, "type": key.kind })).collect();
            output.result(&json!({ "keys": shown, "others": unusable }), || overview(&keys, &others));
            Ok(())
        }
        Command::Show(args) => {
            let key = args.source.one(&args.label)?;
            output.result(&key.json(), || key.people());
            Ok(())
        }
        Command::Export(args) => export::run(&args, output),
        Command::Activate(args) => lifecycle::activate::run(&args, output),
        Command::Rotate(args) => lifecycle::rotate::run(&args, output),
        Command::Retire(args) => lifecycle::retire::run(&args, output),
    }
    .map(|()| Exit::Done)
}

impl Source {
    /// Returns the keys; from a token also those that cannot be used.
    fn all(&self) -> Result<(Vec<KeyView>, Vec<OtherKey>), CliError> {
        if let Some(direct) = self.direct.open(&self.pin)? {
            let TokenContents { keys, others } = admin::contents(&direct.access)?;
            let mut keys: Vec<_> = keys.into_iter().map(|key| KeyView::from_token(key, direct.config.as_ref())).collect();
            states::add_states(&mut keys, &direct)?;
            return Ok((keys, others));
        }
        let mut keys = Vec::new();
        client::call(async {
            let request = self.client.request(pb::ListKeysRequest {});
            let answer = self.client.keys().await?.list_keys(request).await?.into_inner();
            keys = answer.keys.into_iter().map(KeyView::from_service).collect();
            Ok(())
        })?;
        Ok((keys, Vec::new()))
    }

    /// Returns the train key that the station publishes: the only active one.
    fn published(&self) -> Result<KeyView, CliError> {
        if self.direct.config.is_none() && self.direct.state.is_none() {
            return Err(CliError::usage("no key is named")
                .with_hint("name its label; with --config FILE or --state DIR the only active train key is exported"));
        }
        let (keys, _) = self.all()?;
        let is_active = |key: &KeyView| key.state.as_ref().is_some_and(|state| state.state == KeyState::Active);
        let mut active: Vec<_> = keys.into_iter().filter(is_active).collect();
        match (active.len(), active.pop()) {
            (1, Some(key)) => Ok(key),
            (0, _) => {
                Err(CliError::new(Exit::NotFound, "no train key is active")
                    .with_hint("`key list` shows the states; `key activate`"))
            }
            (_, last) => {
                let labels: Vec<_> = active.iter().chain(&last).map(|key| format!("{:?}", key.label)).collect();
                Err(CliError::new(Exit::State, format!("several train keys are active: {}", labels.join(", ")))
                    .with_hint("name one, or `key rotate OLD --to NEW` leaves one of them"))
            }
        }
    }

    /// Returns the key with this label, or that a PKCS#11 URI names.
    fn one(&self, name: &str) -> Result<KeyView, CliError> {
        let uri = match name.starts_with(Pkcs11Uri::SCHEME) {
            true => Some(name.parse::<Pkcs11Uri>().map_err(|error| CliError::usage(error.to_string()))?),
            false => None,
        };
        let label = uri.as_ref().map_or(Some(name), |uri| uri.object.as_deref());
        let Some(label) = label else {
            return Err(CliError::usage(format!("{name:?} names no key: pkcs11:object=LABEL")));
        };
        if self.direct.config.is_some() || self.direct.state.is_some() {
            let (keys, others) = self.all()?;
            let is_meant = |key: &KeyView| {
                let has = |found: &String| found.parse().is_ok_and(|found| uri.as_ref().is_none_or(|uri| uri.matches(&found)));
                key.label == label && key.uris.iter().any(has)
            };
            return keys.into_iter().find(is_meant).ok_or_else(|| match others.into_iter().find(|key| key.label == label) {
                Some(OtherKey { label, kind }) => KeystoreError::KeyOfOtherType { label, kind }.into(),
                None => CliError::new(Exit::NotFound, format!("no key labelled {label:?}"))
                    .with_hint("`key list` shows the token's keys"),
            });
        }
        let mut key = None;
        client::call(async {
            let request = self.client.request(pb::GetKeyRequest { label: name.to_owned() });
            key = self.client.keys().await?.get_key(request).await?.into_inner().key.map(KeyView::from_service);
            Ok(())
        })?;
        key.ok_or_else(|| CliError::other("the service returned no key"))
    }
}

fn overview(keys: &[KeyView], others: &[OtherKey]) -> String {
    let rows = keys.iter().map(|key| {
        let state = |shown: &dyn Fn(&StateView) -> String| key.state.as_ref().map_or_else(|| "-".to_owned(), shown);
        vec![
            super::output::printable(&key.label),
            key.purpose.unwrap_or("-").to_owned(),
            key.type_name(),
            key.fingerprint.clone(),
            yes(key.generated_in_token),
            yes(key.sensitive),
            yes(key.never_extractable),
            state(&|state| state.state.to_string()),
            state(&StateView::until),
            state(&StateView::runs),
        ]
    });
    const HEADER: [&str; 10] =
        ["LABEL", "PURPOSE", "TYPE", "FINGERPRINT", "MADE IN TOKEN", "SENSITIVE", "NEVER EXTRACTABLE", "STATE", "UNTIL", "RUNS"];
    table(&HEADER, rows.collect()) + &notes(keys, others)
}

/// Returns the notes below the table: keys that are not used, and why.
fn notes(keys: &[KeyView], others: &[OtherKey]) -> String {
    let mut notes = String::new();
    if keys.iter().any(|key| key.purpose.is_none()) {
        notes +=
            "\nPURPOSE -: no configuration names the key, so the service does not use it ([keys] train, general; [audit] key).\n";
    }
    for (at, key) in keys.iter().enumerate() {
        let labels: Vec<_> = keys.iter().filter(|other| other.fingerprint == key.fingerprint).map(|other| &other.label).collect();
        if labels.len() > 1 && keys.iter().position(|other| other.fingerprint == key.fingerprint) == Some(at) {
            let labels: Vec<_> = labels.into_iter().map(|label| format!("{:?}", super::output::printable(label))).collect();
            notes += &format!(
                "\nwarning: one key has {} labels, {}: it can be used for the purposes of all of them.\n",
                labels.len(),
                labels.join(", ")
            );
        }
    }
    if !others.is_empty() {
        let named: Vec<_> =
            others.iter().map(|key| format!("{:?} ({})", super::output::printable(&key.label), key.kind)).collect();
        notes += &format!("\nOther keys in the token, which cannot be used: {}.\n", named.join(", "));
    }
    notes
}
