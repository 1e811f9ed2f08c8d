//! `key generate|list|show|export`.

mod export;
mod generate;
mod view;

use serde_json::json;

use super::{
    client::{self, ClientArgs},
    direct::DirectArgs,
    error::{CliError, Exit},
    output::{Output, table, yes},
};
use crate::{keystore::admin, pb};
use view::KeyView;

const SOURCE: &str = "\
Asks the running service; with --config FILE or --state DIR the token itself (log in with the PIN they name).";

const EXAMPLES: &str = "\
Examples:
  stationmaster key generate station-1 --purpose train --config /etc/stationmaster/stationmaster.toml
  stationmaster key list
  stationmaster key show station-1
  stationmaster key export --format hex-pem station-1     # what the registry wants";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Command {
    /// Generate a key pair in the token
    Generate(generate::Args),
    /// List the keys
    #[command(after_help = SOURCE)]
    List(Source),
    /// Show a key and what the token can do with it
    #[command(after_help = SOURCE)]
    Show(Show),
    /// Print a public key
    Export(export::Args),
}

/// Where keys are looked up.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Source {
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The key's label
    label: String,
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Generate(args) => generate::run(&args, output),
        Command::List(source) => {
            let keys = source.all()?;
            output.result(&json!({ "keys": keys.iter().map(KeyView::json).collect::<Vec<_>>() }), || overview(&keys));
            Ok(())
        }
        Command::Show(args) => {
            let key = args.source.one(&args.label)?;
            output.result(&key.json(), || key.people());
            Ok(())
        }
        Command::Export(args) => export::run(&args, output),
    }
}

impl Source {
    fn all(&self) -> Result<Vec<KeyView>, CliError> {
        if let Some(direct) = self.direct.open()? {
            let keys = admin::list_keys(&direct.access)?;
            return Ok(keys.into_iter().map(|key| KeyView::from_token(key, direct.config.as_ref())).collect());
        }
        let mut keys = Vec::new();
        client::call(async {
            let request = self.client.request(pb::ListKeysRequest {});
            let answer = self.client.keys().await?.list_keys(request).await?.into_inner();
            keys = answer.keys.into_iter().map(KeyView::from_service).collect();
            Ok(())
        })?;
        Ok(keys)
    }

    fn one(&self, label: &str) -> Result<KeyView, CliError> {
        if self.direct.config.is_some() || self.direct.state.is_some() {
            let found = self.all()?.into_iter().find(|key| key.label == label);
            return found.ok_or_else(|| {
                CliError::new(Exit::NotFound, format!("no key labelled {label:?}")).with_hint("`key list` shows the token's keys")
            });
        }
        let mut key = None;
        client::call(async {
            let request = self.client.request(pb::GetKeyRequest { label: label.to_owned() });
            key = self.client.keys().await?.get_key(request).await?.into_inner().key.map(KeyView::from_service);
            Ok(())
        })?;
        key.ok_or_else(|| CliError::other("the service answered no key"))
    }
}

fn overview(keys: &[KeyView]) -> String {
    let rows = keys.iter().map(|key| {
        vec![
            super::output::printable(&key.label),
            key.purpose.unwrap_or("-").to_owned(),
            format!("RSA-{}", key.bits),
            key.fingerprint.clone(),
            yes(key.generated_in_token),
            yes(key.sensitive),
            yes(key.never_extractable),
        ]
    });
    table(&["LABEL", "PURPOSE", "TYPE", "FINGERPRINT", "MADE IN TOKEN", "SENSITIVE", "NEVER EXTRACTABLE"], rows.collect())
}
