//! `key export`: writes a public key in the requested format.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::ValueEnum;
use serde_json::json;
use stationmaster_keystore::KeyType;
use stationmaster_system::files::Readers;
use stationmaster_train::keys::{PublicKey, spki_pem};

use super::{Source, jwk, ssh};
use crate::cli::{
    error::CliError,
    out_file::Out,
    output::{Output, raw},
};

const AFTER: &str = "\
Formats:
  pem      SubjectPublicKeyInfo in PEM
  der      the same in DER
  hex-pem  lower-case hex of the PEM text, as trains' routes and the registry
           use it
  jwk      JSON Web Key (RFC 7517)
  ssh      a line for OpenSSH, with the label as comment

Examples:
  stationmaster key export --format hex-pem station-1
  stationmaster key export --format der station-1 -o station-1.der";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The key's label or PKCS#11 URI; without it the only active train key, which needs --config or --state
    label: Option<String>,
    /// The output format
    #[arg(long, value_enum, default_value = "pem")]
    format: KeyFormat,
    #[command(flatten)]
    out: Out,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyFormat {
    Pem,
    Der,
    HexPem,
    Jwk,
    Ssh,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<(), CliError> {
    let key = match &args.label {
        Some(label) => args.source.one(label)?,
        None => args.source.published()?,
    };
    let bytes = match args.format {
        KeyFormat::Der => key.der.clone(),
        KeyFormat::Pem => spki_pem(&key.der).into_bytes(),
        KeyFormat::HexPem => (const_hex::encode(spki_pem(&key.der)) + "\n").into_bytes(),
        KeyFormat::Ssh => {
            let line = ssh::line(&key.der, &key.label).ok_or_else(|| CliError::other("the public key cannot be read"))?;
            (line + "\n").into_bytes()
        }
        KeyFormat::Jwk => {
            let jwk = match key.key_type {
                KeyType::Rsa => PublicKey::from_spki_der(&key.der).map(|public| public.to_jwk_json()).ok(),
                _ => jwk::of_curve(&key.der),
            };
            (jwk.ok_or_else(|| CliError::other("the public key cannot be read"))? + "\n").into_bytes()
        }
    };
    if let Some(file) = args.out.begin(Readers::All)? {
        file.write(&bytes)?;
    } else if !output.is_json() {
        return Ok(raw(&bytes)?);
    }
    if output.is_json() {
        let value = match args.format {
            KeyFormat::Der => STANDARD.encode(&bytes),
            _ => String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned(),
        };
        let format = args.format.to_possible_value().map(|value| value.get_name().to_owned());
        output.result(
            &json!({ "label": key.label, "format": format, "value": value, "fingerprint": key.fingerprint }),
            String::new,
        );
    }
    Ok(())
}
