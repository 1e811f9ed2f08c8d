//! `ceremony start|status|finish|abort|verify`: a signed transcript of what administrators did together.

mod page;
mod transcript;
mod verify;

use std::path::PathBuf;

use serde_json::json;
use stationmaster_keystore::{Hash, KeyConfig, KeyType, Keystore, KeystoreConfig, SignScheme};
use stationmaster_system::files::{Existing, OutputFile, Readers};

use self::transcript::{Signed, Transcript};
use super::{
    admin_audit::{
        self,
        ceremony::{self, OpenCeremony},
    },
    error::{CliError, Exit},
    output::{Output, fields, printable},
    token_access::{DirectArgs, PinArgs, TokenContext},
};
use crate::{audit::Event, authz::Purpose, dev, ledger::ReasonText, protocol::key_usage};

const AFTER: &str = "\
While a ceremony is open, every command of an administrator that is recorded in
the audit carries its id. `finish` writes these records as a transcript and as
a page to print, signed by a key in the token. `verify` needs the public key
alone, and finds any change of either file.

Examples:
  export STATIONMASTER_CONFIG=/etc/stationmaster/stationmaster.toml
  stationmaster ceremony start --title \"New station key\" \\
      --participants \"Anna A.,Bert B.\"
  stationmaster key generate station-1 --purpose train
  stationmaster ceremony finish -o ceremony.json
  stationmaster key export audit --format pem -o audit.pem
  stationmaster ceremony verify ceremony.json --key audit.pem";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Command {
    /// Begin a ceremony
    Start(Start),
    /// Show the open ceremony and what was recorded so far
    #[command(name = "status")]
    Open(Station),
    /// Write and sign the transcript, and end the ceremony
    Finish(Finish),
    /// End the ceremony without a transcript
    Abort(Abort),
    /// Verify a transcript and its page
    Verify(verify::Args),
}

/// Names the station.
#[derive(Debug, clap::Args)]
pub(super) struct Station {
    #[command(flatten)]
    direct: DirectArgs,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "stationmaster ceremony start --title TEXT --participants NAMES")]
pub(super) struct Start {
    /// What the ceremony is for
    #[arg(long, value_name = "TEXT")]
    title: ReasonText,
    /// The people who take part, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    participants: Vec<ReasonText>,
    #[command(flatten)]
    station: Station,
}

#[derive(Debug, clap::Args)]
pub(super) struct Finish {
    /// The transcript's file, JSON; the page is beside it, with the extension html
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: PathBuf,
    /// Label of the key that signs, RSA, EC P-256 or Ed25519 [default: the audit's key]
    #[arg(long, value_name = "LABEL")]
    sign_with: Option<String>,
    #[command(flatten)]
    direct: DirectArgs,
    #[command(flatten)]
    pin: PinArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct Abort {
    /// The reason
    #[arg(long, value_name = "TEXT")]
    reason: ReasonText,
    #[command(flatten)]
    station: Station,
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    match command {
        Command::Start(args) => {
            let audit = args.station.audit()?;
            let open = OpenCeremony::new(&args.title, &args.participants)?;
            ceremony::start(&audit, &open)?;
            report(&open, 0, "Started", output);
            Ok(())
        }
        Command::Open(station) => {
            let audit = station.audit()?;
            let open = ceremony::required(&audit)?;
            let records = ceremony::records(&audit, &open.id)?;
            report(&open, records.len(), "Open", output);
            Ok(())
        }
        Command::Finish(args) => finish(&args, output),
        Command::Abort(args) => {
            let audit = args.station.audit()?;
            let open = ceremony::required(&audit)?;
            let entry = admin_audit::entry(Event::CeremonyAborted, "ceremony abort")
                .with("ceremony", open.id.clone())
                .with("reason", args.reason.as_str());
            admin_audit::carry_out(&audit, entry, || ceremony::end(&audit))?;
            report(&open, 0, "Aborted", output);
            Ok(())
        }
        Command::Verify(args) => verify::run(&args, output),
    }
}

impl Station {
    /// Returns the directory of the audit logs.
    fn audit(&self) -> Result<PathBuf, CliError> {
        self.direct.audit_directory()
    }
}

fn report(open: &OpenCeremony, records: usize, state: &str, output: Output) {
    let value = json!({
        "ceremony": open.id, "state": state.to_lowercase(), "title": open.title, "participants": open.participants,
        "started": open.started, "records": records,
    });
    output.result(&value, || {
        fields(&[
            ("Ceremony", open.id.clone()),
            ("State", state.to_lowercase()),
            ("Title", printable(&open.title)),
            ("Participants", printable(&open.participants.join(", "))),
            ("Started", open.started.clone()),
            ("Records", records.to_string()),
        ])
    });
}

fn finish(args: &Finish, output: Output) -> Result<(), CliError> {
    let token = args.direct.required(&args.pin)?;
    let audit = token.audit.clone();
    let open = ceremony::required(&audit)?;
    let page_file = args.out.with_extension("html");
    if page_file == args.out {
        return Err(
            CliError::usage("the transcript cannot have the extension html, which its page has").with_hint("-o ceremony.json")
        );
    }
    // Before the key is used.
    let begin = |path: &PathBuf| {
        OutputFile::begin(path, Existing::Stays, Readers::All).map_err(|error| CliError::file("create", path, &error))
    };
    let (mut json_out, mut page_out) = (begin(&args.out)?, begin(&page_file)?);
    let label = args.sign_with.clone().unwrap_or_else(|| match &token.config {
        Some(config) => config.audit.key.clone(),
        None => dev::AUDIT.to_owned(),
    });
    if token.config.as_ref().is_some_and(|config| config.keys.train.contains(&label)) {
        return Err(CliError::usage(format!("{label:?} is a train key, which signs trains only"))
            .with_hint("leave --sign-with out: the audit's key signs"));
    }
    let transcript = Transcript::new(&open, ceremony::records(&audit, &open.id)?);
    let page = page::page(&transcript);
    let text = transcript.text(&page)?;
    let entry = admin_audit::entry(Event::CeremonyFinished, "ceremony finish")
        .with("ceremony", open.id.clone())
        .with("key", label.as_str())
        .with("digest", transcript::digest(text.as_bytes()))
        .with("records", transcript.records.len() as u64);
    let fingerprint = admin_audit::carry_out(&audit, entry, || {
        let signed = sign(token, &label, text)?;
        let written = |path: &PathBuf, done: std::io::Result<()>| done.map_err(|error| CliError::file("write", path, &error));
        let bytes = signed.bytes()?;
        written(&args.out, std::io::Write::write_all(&mut json_out, &bytes))?;
        written(&page_file, std::io::Write::write_all(&mut page_out, page.as_bytes()))?;
        written(&page_file, page_out.finish())?;
        written(&args.out, json_out.finish())?;
        ceremony::end(&audit)?;
        Ok::<_, CliError>(signed.key)
    })?;
    let count = transcript.records.len();
    let value = json!({
        "ceremony": open.id, "state": "finished", "file": args.out, "page": page_file, "key": label, "fingerprint": fingerprint, "records": count,
    });
    output.result(&value, || {
        format!(
            "Finished, with {count} records\n{}",
            fields(&[
                ("Transcript", args.out.display().to_string()),
                ("Page", page_file.display().to_string()),
                ("Signed by", format!("{} {fingerprint}", printable(&label))),
            ])
        )
    });
    Ok(())
}

/// Signs a text with a key in the token.
fn sign(token: TokenContext, label: &str, text: String) -> Result<Signed, CliError> {
    let keys = vec![KeyConfig::new(label.to_owned(), key_usage(Purpose::Audit))];
    let keystore = Keystore::open(KeystoreConfig { keys, sessions: 1, ..KeystoreConfig::new(token.access) })?;
    let signed = signed_by(&keystore, label, text);
    // A token's library may crash when the process ends during a call.
    let _ = keystore.close();
    signed
}

fn signed_by(keystore: &Keystore, label: &str, text: String) -> Result<Signed, CliError> {
    let key = keystore.key(label)?;
    let scheme = match key.key_type {
        KeyType::Rsa => SignScheme::Pss(Hash::Sha256),
        KeyType::EcP256 => SignScheme::EcdsaP256,
        KeyType::Ed25519 => SignScheme::Ed25519,
        other => {
            return Err(CliError::new(Exit::Usage, format!("{label:?} is a key of type {}", other.name()))
                .with_hint("transcripts are signed by an RSA, EC P-256 or Ed25519 key: --sign-with LABEL"));
        }
    };
    let message = transcript::message(&text);
    let digest = openssl::sha::sha256(message.as_bytes());
    let signed = if scheme.hash().is_some() { &digest[..] } else { message.as_bytes() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::other(format!("cannot start: {error}")))?;
    let signature = runtime.block_on(keystore.sign(key.id, scheme, signed, None))?;
    Ok(Signed::new(text, &key.spki_der, &signature))
}
