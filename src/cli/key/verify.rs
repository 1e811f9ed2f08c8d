//! `key verify`: tries one key of the token with every scheme, and checks how it was made.

use serde_json::json;
use stationmaster_keystore::{Capability, KeyDescription, KeystoreError, OaepScheme};
use stationmaster_train::keys::spki_fingerprint;

use super::{
    key_for::KeyFor,
    trial_settings::{signs_nothing, trial_settings},
};
use crate::{
    authz::Purpose,
    checks::{CheckNode, CheckState, token},
    cli::{
        check_tree,
        error::{CliError, Exit},
        output::{Output, fields},
        token::trial,
        token_access::{DirectArgs, PinArgs},
    },
    protocol::key_usage,
    server::open_tokens,
};

const AFTER: &str = "\
Signs a fixed text with each scheme and verifies it with the public key, and
decrypts a ciphertext made for the key, with the token itself and not by its list
of mechanisms: PSS with the longest salt and OAEP with SHA-512 are among them. Then
checks that the key is sensitive, not extractable, never was, and was generated in
the token. The trial is recorded before it is made.

Exit code 8 if the key cannot serve its purpose, or can leave the token. That a
key was not generated in the token is a warning.

Examples:
  stationmaster key verify station-1 --config /etc/stationmaster/stationmaster.toml
  stationmaster key verify new --purpose train --state /tmp/station-1";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The key's label
    label: String,
    /// What the key has to be fit for [default: as configured, else general]
    #[arg(long, value_enum)]
    purpose: Option<KeyFor>,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<Exit, CliError> {
    let direct = args.direct.required(&args.pin)?;
    let station = args.direct.station()?;
    let config = &station.config;
    let settings = config.tokens.select(args.pin.choice.token.as_deref()).map_err(CliError::usage)?;
    let configured = open_tokens::key_purposes(config).get(&args.label);
    let purpose = args.purpose.map(Purpose::from).or(configured).unwrap_or(Purpose::General);
    let name = settings.selector().name().to_owned();
    let keystore = trial_settings(settings, direct.access, &args.label, purpose);
    let tried = trial::tried(keystore, &direct.audit, &name, "key verify")?;
    let key = tried.keys.first().ok_or_else(|| KeystoreError::KeyNotFound { label: args.label.clone() })?;
    let mut nodes = vec![token::key(config, key, purpose, &station.options)];
    nodes.extend(schemes(key, purpose));
    let verified = !nodes.iter().any(CheckNode::fails);
    let fingerprint = spki_fingerprint(&key.spki_der);
    let value = json!({
        "label": key.label,
        "fingerprint": fingerprint,
        "purpose": purpose.name(),
        "verified": verified,
        "sensitive": key.sensitive,
        "extractable": key.extractable,
        "never_extractable": key.never_extractable,
        "generated_in_token": key.generated_in_token,
        "nodes": nodes.iter().map(check_tree::json).collect::<Vec<_>>(),
    });
    output.result(&value, || {
        let head =
            fields(&[("Label", key.label.clone()), ("Fingerprint", fingerprint.clone()), ("Purpose", purpose.name().to_owned())]);
        let verdict = if verified { "the key can serve its purpose" } else { "the key FAILED" };
        format!("{head}{}Verdict: {verdict}\n", check_tree::people(&nodes))
    });
    Ok(if verified { Exit::Done } else { Exit::Broken })
}

/// Returns a node for each scheme of the purpose, and that the key signs nothing, if so.
fn schemes(key: &KeyDescription, purpose: Purpose) -> Vec<CheckNode> {
    let usage = key_usage(purpose);
    let can = |scheme: &str| key.capabilities.get(scheme).copied().unwrap_or(Capability::No);
    let node = |what, scheme: &'static str| {
        let (state, note) = match can(scheme) {
            Capability::Native => (CheckState::Usable, "done by the token"),
            Capability::Raw => (CheckState::Usable, "done with raw RSA in the token"),
            // Whether the purpose needs it was checked with the key.
            Capability::No => (CheckState::Skipped, "not available with this key on this token"),
        };
        CheckNode::new(what, state, note).with_subject(scheme)
    };
    let signs: Vec<_> =
        usage.sign.iter().filter(|scheme| scheme.key_type() == key.key_type).map(|scheme| scheme.name()).collect();
    let unwraps = usage.unwrap.iter().map(|scheme: &OaepScheme| scheme.name());
    let mut nodes: Vec<_> = signs.iter().map(|scheme| node("Sign", scheme)).collect();
    if key.key_type == stationmaster_keystore::KeyType::Rsa {
        nodes.extend(unwraps.map(|scheme| node("Unwrap", scheme)));
    }
    if let Some(nothing) = signs_nothing(key, purpose) {
        nodes.push(
            CheckNode::new("Sign", CheckState::Wrong, nothing)
                .with_remedy("docs/tokens.md lists what tokens cannot do; `key show` shows the key's type"),
        );
    }
    nodes
}
