//! `token show`: what tokens say of themselves, and what the trial of each key finds.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use stationmaster_keystore::{
    KeyConfig, KeyDescription, KeyUsage, KeystoreConfig, ModuleConfig, TokenAccess, TokenSelector,
    admin::{self, SessionLimit, TokenReport},
};

use super::trial;
use crate::{
    authz::Purpose,
    checks::token::TriedKeys,
    cli::{
        error::CliError,
        module_crash,
        output::{Output, fields, printable, table, yes},
        token_access::{DirectArgs, PinArgs, config_of_environment},
    },
    config::{Config, TokenConfig},
    protocol::key_usage,
    server::open_tokens,
};

const AFTER: &str = "\
Reads what each configured token and its module say of themselves: versions,
flags, PIN state, sessions and mechanisms. No login is made. With --keys the
command logs in and tries every configured key, as the service does when it
starts: tokens list mechanisms that they refuse. The trial is recorded in the
administrators' log.

Examples:
  stationmaster token show --config /etc/stationmaster/stationmaster.toml
  stationmaster token show --config stationmaster.toml --token pht --keys";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Log in, and try what the token can do with each configured key
    #[arg(long)]
    keys: bool,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
}

/// A token to be shown.
struct Target {
    name: String,
    module: ModuleConfig,
    selector: TokenSelector,
}

/// What was found of a token.
struct Shown {
    target: Target,
    report: TokenReport,
    /// Absent without `--keys`.
    keys: Option<TriedKeys>,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let mut failure = None;
    let mut shown = Vec::new();
    let mut unusable = Vec::new();
    let mut take = |name: &str, found: Result<Shown, CliError>| match found {
        Ok(token) => shown.push(token),
        Err(error) => {
            unusable.push(json!({ "name": name, "error": error.message, "hint": error.hint }));
            failure.get_or_insert(error);
        }
    };
    match args.direct.config.clone().or_else(|| args.direct.state.is_none().then(config_of_environment).flatten()) {
        Some(file) => {
            let config = Config::load(&file)?;
            let tokens = selected(&config, args)?;
            let modules: BTreeSet<_> = tokens.iter().map(|token| token.module.as_path()).collect();
            module_crash::guard(&modules.into_iter().collect::<Vec<_>>())?;
            for token in tokens {
                take(token.selector().name(), configured(&config, &token, args.keys));
            }
        }
        None => {
            let context = args.direct.required(&args.pin)?;
            take("stationmaster-dev", development(context.access, &context.audit, args.keys));
        }
    }
    match failure {
        // One sentence suffices when there is nothing else.
        Some(error) if shown.is_empty() => Err(error),
        failure => {
            let values: Vec<_> = shown.iter().map(json_of).chain(unusable).collect();
            output.result(&json!({ "tokens": values }), || shown.iter().map(people).collect::<Vec<_>>().join("\n"));
            failure.map_or(Ok(()), Err)
        }
    }
}

fn selected(config: &Config, args: &Args) -> Result<Vec<TokenConfig>, CliError> {
    let mut tokens = match args.pin.choice.token.as_deref() {
        Some(name) => vec![config.tokens.select(Some(name)).map_err(CliError::usage)?.clone()],
        None => config.tokens.all().to_vec(),
    };
    if let Some(file) = &args.pin.pin_file {
        for token in &mut tokens {
            token.pin_file = Some(file.clone());
            (token.pin_credential, token.pin_env) = (None, None);
        }
    }
    Ok(tokens)
}

fn configured(config: &Config, token: &TokenConfig, keys: bool) -> Result<Shown, CliError> {
    let target = Target { name: token.selector().name().to_owned(), module: token.module(), selector: token.selector() };
    let try_keys = || {
        trial::protect()?;
        let settings = open_tokens::keystore_config(config, token)?;
        trial::tried(settings, &config.audit_directory(), &target.name, "token show").map_err(CliError::from)
    };
    let report = admin::token_report(&target.module, &target.selector)?;
    let keys = keys.then(try_keys).transpose()?;
    Ok(Shown { target, report, keys })
}

fn development(access: TokenAccess, audit: &Path, keys: bool) -> Result<Shown, CliError> {
    let name = access.token.name().to_owned();
    let target = Target { name, module: access.module.clone(), selector: access.token.clone() };
    let report = admin::token_report(&target.module, &target.selector)?;
    let try_keys = || {
        let usage = |label: &str| if label == crate::dev::AUDIT { key_usage(Purpose::Audit) } else { KeyUsage::ALL };
        let keys = admin::contents(&access)?.keys;
        let keys = keys.into_iter().map(|key| KeyConfig { usage: usage(&key.label), ..KeyConfig::new(key.label, KeyUsage::ALL) });
        let settings = KeystoreConfig { keys: keys.collect(), allow_raw_unwrap: true, ..KeystoreConfig::new(access) };
        trial::tried(settings, audit, &target.name, "token show").map_err(CliError::from)
    };
    let keys = keys.then(try_keys).transpose()?;
    Ok(Shown { target, report, keys })
}

/// Returns the mechanism that a token needs to carry out a scheme as a whole.
fn mechanism_of(scheme: &str) -> &'static str {
    match scheme {
        _ if scheme.starts_with("RSA_PSS") => "CKM_RSA_PKCS_PSS",
        _ if scheme.starts_with("RSA_PKCS1") => "CKM_RSA_PKCS",
        _ if scheme.starts_with("RSA_OAEP") => "CKM_RSA_PKCS_OAEP",
        _ if scheme.starts_with("ECDSA") => "CKM_ECDSA",
        _ => "CKM_EDDSA",
    }
}

impl Shown {
    fn lists(&self, mechanism: &str) -> bool {
        self.report.mechanisms.iter().any(|known| known.name == mechanism && known.listed.is_some())
    }
}

fn json_of(shown: &Shown) -> Value {
    let Shown { target, report, keys } = shown;
    let mechanisms = report.mechanisms.iter().map(|mechanism| match &mechanism.listed {
        None => json!({ "name": mechanism.name, "listed": false }),
        Some(entry) => json!({
            "name": mechanism.name,
            "listed": true,
            "min_key_size": entry.min_key_size,
            "max_key_size": entry.max_key_size,
            "uses": entry.uses,
        }),
    });
    let of_key = |key: &KeyDescription| {
        let schemes = key.capabilities.iter().map(|(scheme, path)| {
            let mechanism = mechanism_of(scheme);
            let value = json!({ "mechanism": mechanism, "listed": shown.lists(mechanism), "path": path.name() });
            ((*scheme).to_owned(), value)
        });
        let uris: Vec<_> = key.uris.iter().map(ToString::to_string).collect();
        json!({ "label": key.label, "bits": key.bits, "uris": uris, "schemes": schemes.collect::<serde_json::Map<_, _>>() })
    };
    json!({
        "name": target.name,
        "uri": report.uri.to_string(),
        "module": target.module.path,
        "library": {
            "description": report.library,
            "manufacturer": report.library_manufacturer,
            "version": report.library_version,
            "pkcs11": report.pkcs11_version,
        },
        "flags": report.flags,
        "sessions": {
            "open": report.sessions_open,
            "maximum": match report.sessions_max {
                SessionLimit::AtMost(number) => json!(number),
                SessionLimit::Unlimited => json!("unlimited"),
                SessionLimit::Unknown => Value::Null,
            },
        },
        "mechanisms": mechanisms.collect::<Vec<_>>(),
        "vendor": report.vendor.as_ref().map(|vendor| json!({ "name": vendor.name, "notes": vendor.notes })),
        "keys": keys.as_ref().map(|tried| tried.keys.iter().map(of_key).collect::<Vec<_>>()),
        "missing_keys": keys.as_ref().map(|tried| tried.missing.clone()),
    })
}

fn people(shown: &Shown) -> String {
    let Shown { target, report, keys } = shown;
    let number = |number: Option<u64>| number.map_or_else(|| "not reported".to_owned(), |number| number.to_string());
    let maximum = match report.sessions_max {
        SessionLimit::AtMost(number) => number.to_string(),
        SessionLimit::Unlimited => "unlimited".to_owned(),
        SessionLimit::Unknown => "not reported".to_owned(),
    };
    let flags: Vec<_> = report.flags.iter().filter(|(_, is_set)| **is_set).map(|(name, _)| name.replace('_', " ")).collect();
    let vendor = report.vendor.as_ref();
    let mut text = fields(&[
        ("Token", printable(&target.name)),
        ("URI", report.uri.to_string()),
        ("Module", target.module.path.display().to_string()),
        ("Library", printable(&format!("{} {} ({})", report.library, report.library_version, report.library_manufacturer))),
        ("PKCS#11", report.pkcs11_version.clone()),
        ("Flags", flags.join(", ")),
        ("Sessions", format!("{} open, maximum {maximum}", number(report.sessions_open))),
        ("Vendor", vendor.map_or_else(String::new, |vendor| vendor.name.to_owned())),
    ]);
    for note in vendor.map_or(&[][..], |vendor| vendor.notes) {
        text += &format!("note: {note}\n");
    }
    let rows = report.mechanisms.iter().map(|mechanism| {
        let of = |text: &dyn Fn(&admin::MechanismEntry) -> String| mechanism.listed.as_ref().map_or_else(|| "-".to_owned(), text);
        vec![
            mechanism.name.to_owned(),
            yes(mechanism.listed.is_some()),
            of(&|entry| format!("{}-{}", entry.min_key_size, entry.max_key_size)),
            of(&|entry| entry.uses.join(", ")),
        ]
    });
    text += &format!("\n{}", table(&["MECHANISM", "LISTED", "KEY SIZES", "USES"], rows.collect()));
    if let Some(TriedKeys { keys, missing }) = keys {
        let rows = keys.iter().flat_map(|key| {
            key.capabilities.iter().map(move |(scheme, path)| {
                let mechanism = mechanism_of(scheme);
                vec![printable(&key.label), (*scheme).to_owned(), yes(shown.lists(mechanism)), path.name().to_owned()]
            })
        });
        text += &format!("\n{}", table(&["KEY", "SCHEME", "LISTED", "PATH"], rows.collect()));
        for label in missing {
            text += &format!("note: the token has no key labelled {:?}\n", printable(label));
        }
    }
    text
}
