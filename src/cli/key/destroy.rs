//! `key destroy`: erases a key from the token, with its public half and its certificates.

use serde_json::json;
use stationmaster_keystore::{
    KeyType,
    admin::{self, KeyObjects},
};
use stationmaster_train::keys::spki_fingerprint;

use crate::{
    audit::{Entry, Event},
    authz::Purpose,
    cli::{
        admin_audit::{
            self,
            four_eyes::{self, FourEyesArgs, Proposal},
        },
        confirm::{ConfirmArgs, Doomed},
        error::{CliError, Exit},
        output::{Output, count, fields},
        token_access::{DirectArgs, PinArgs},
    },
    config::GuardedAct,
    ledger::ReasonText,
    server::open_tokens,
};

const AFTER: &str = "\
Shows the private key, and how many public keys and certificates in the token
belong to it, and wants the label typed at the terminal. Programs use --yes with
the fingerprint, which then has to be that of the key with this label.

Nothing brings the key back but a backup of the token. What was encrypted for it
and has not been opened yet is lost. A key that the configuration names is not
destroyed without --force-configured. Copies in other tokens stay.

Examples:
  stationmaster key destroy station-0 --reason \"retired, ticket 4711\" \\
      --config /etc/stationmaster/stationmaster.toml
  stationmaster key destroy station-0 --reason \"retired, ticket 4711\" \\
      --yes --fingerprint SHA256:hoB… --state /tmp/station-1";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The key's label
    label: String,
    /// The reason; it is recorded in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    /// Destroy the key even if the configuration names it
    #[arg(long)]
    force_configured: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
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
    let purpose = open_tokens::key_purposes(&config).get(&args.label);
    let objects = admin::key_objects(&direct.access, &args.label)?;
    let key = &objects.description;
    let fingerprint = spki_fingerprint(&key.spki_der);
    let uri = key.uris.first();
    let token = |part: fn(&stationmaster_keystore::Pkcs11Uri) -> &Option<String>| {
        uri.and_then(|uri| part(uri).clone()).unwrap_or_default()
    };
    let (name, serial) = (token(|uri| &uri.token), token(|uri| &uri.serial));
    let kind = match key.key_type {
        KeyType::Rsa => format!("RSA-{}", key.bits),
        other => other.name().to_owned(),
    };
    let rows = [
        ("Label", args.label.clone()),
        ("Type", kind.clone()),
        ("Fingerprint", fingerprint.clone()),
        ("Token", name.clone()),
        ("Serial", serial.clone()),
        ("Objects", listed(&objects)),
        ("Purpose", purpose.map(|purpose| purpose.name().to_owned()).unwrap_or_default()),
    ];
    let breaks = purpose.map(|purpose| format!("The configuration names this key: {}.\n", consequence(purpose)));
    let what = format!("This erases for good:\n{}{}", fields(&rows), breaks.clone().unwrap_or_default());

    let entry = admin_audit::entry(Event::KeyDestroyed, "key destroy");
    let entry = entry.with("label", args.label.as_str()).with("fingerprint", fingerprint.as_str()).with("type", kind.as_str());
    let entry = entry.with("token", name.as_str()).with("serial", serial.as_str()).with("reason", args.reason.as_str());
    let permitted = match purpose {
        Some(purpose) if !args.force_configured => Err(CliError::new(
            Exit::Refused,
            format!("the configuration names {:?} as {} key: without it {}", args.label, purpose.name(), consequence(purpose)),
        )
        .with_hint("name another key in the configuration first, or use --force-configured; nothing was erased")),
        _ => args.confirm.confirm(&Doomed { what, label: &args.label, fingerprint: &fingerprint }),
    };
    if let Err(error) = permitted {
        let refused = Entry {
            event: Event::ApprovalRefused,
            outcome: Some("refused".to_owned()),
            detail: Some(error.message.clone()),
            ..entry
        };
        admin_audit::record(&direct.audit, refused)?;
        return Err(error);
    }
    let proposal = Proposal {
        act: GuardedAct::KeyDestroy,
        command: "key destroy",
        parameters: json!({
            "label": args.label,
            "fingerprint": fingerprint,
            "token": name,
            "serial": serial,
            "force_configured": args.force_configured,
            "reason": args.reason.as_str(),
        }),
        reason: Some(&args.reason),
    };
    let permit = four_eyes::permit(Some(&config), &proposal, &args.four_eyes)?;
    let destroyed =
        admin_audit::carry_out_guarded(&direct.audit, entry, permit, || admin::destroy_key(&direct.access, &args.label, key.id))?;
    let value = json!({
        "label": args.label,
        "type": key.key_type.name(),
        "bits": key.bits,
        "fingerprint": fingerprint,
        "token": name,
        "serial": serial,
        "public_keys": destroyed.public,
        "certificates": destroyed.certificates,
        "left": destroyed.left,
    });
    output.result(&value, || {
        let left = match destroyed.left {
            0 => String::new(),
            left => format!(
                "warning: the token did not erase {}, which hold nothing secret; its vendor's tool may\n",
                count(left as u64, "public object", "public objects")
            ),
        };
        format!("Erased the key {:?} ({fingerprint}) from the token {name:?}\n{left}", args.label)
    });
    Ok(())
}

fn listed(objects: &KeyObjects) -> String {
    let public = count(objects.public as u64, "public key", "public keys");
    let certificates = count(objects.certificates as u64, "certificate", "certificates");
    format!("1 private key, {public}, {certificates}")
}

/// Returns what no longer works without the key of a purpose.
fn consequence(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Train => "the service does not start, and trains whose route names it can never be opened here",
        Purpose::General => "the service does not start, and what was wrapped for it can never be unwrapped",
        Purpose::Audit => "the service does not start, and the audit log gets no more checkpoints by it",
        Purpose::Tls => "the service does not start, and its certificate cannot be used",
    }
}
