//! `sign`: signs a file or a digest with a general key.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::ValueEnum;
use openssl::hash::{Hasher, MessageDigest};
use serde_json::json;
use stationmaster_proto as pb;
use stationmaster_system::files::{Readers, input};

use super::{
    client::ClientArgs,
    error::CliError,
    out_file::Out,
    output::{Output, raw},
};

const AFTER: &str = "\
A file is hashed locally; only its digest is sent to the service. Ed25519 signs
the message itself: the file, of at most 32 KiB, is sent.

Examples:
  stationmaster sign --key station-1-general \\
      --scheme rsa-pss-sha256 report.pdf -o report.sig --format raw
  sha256sum report.pdf | cut -d' ' -f1 | xargs stationmaster sign \\
      --key station-1-general --scheme rsa-pss-sha256 --digest";

/// Longest message that is signed itself, in bytes.
const LONGEST_MESSAGE: usize = 32 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Label or PKCS#11 URI of a general key
    #[arg(long, value_name = "LABEL")]
    key: String,
    /// The signature scheme; it determines the hash function
    #[arg(long, value_enum)]
    scheme: Scheme,
    /// The message's digest; not for Ed25519
    #[arg(long, value_name = "HEX", conflicts_with = "file")]
    digest: Option<String>,
    /// The message; - is standard input
    #[arg(required_unless_present = "digest")]
    file: Option<PathBuf>,
    /// The format of the signature
    #[arg(long, value_enum, default_value = "hex")]
    format: SignatureFormat,
    #[command(flatten)]
    out: Out,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SignatureFormat {
    Raw,
    Hex,
    Base64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scheme {
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
    /// PSS with the longest salt that fits the key, as in trains
    RsaPssSha512MaxSalt,
    EcdsaP256Sha256,
    EcdsaP384Sha384,
    /// Signs the message itself, not a digest
    Ed25519,
}

impl Scheme {
    /// Returns the scheme on the wire, and its hash function.
    fn wire(self) -> (pb::SignatureScheme, Option<MessageDigest>) {
        use pb::SignatureScheme as Wire;
        let (wire, hash) = match self {
            Self::RsaPssSha256 => (Wire::RsaPssSha256, MessageDigest::sha256()),
            Self::RsaPssSha384 => (Wire::RsaPssSha384, MessageDigest::sha384()),
            Self::RsaPssSha512 => (Wire::RsaPssSha512, MessageDigest::sha512()),
            Self::RsaPkcs1Sha256 => (Wire::RsaPkcs1Sha256, MessageDigest::sha256()),
            Self::RsaPkcs1Sha384 => (Wire::RsaPkcs1Sha384, MessageDigest::sha384()),
            Self::RsaPkcs1Sha512 => (Wire::RsaPkcs1Sha512, MessageDigest::sha512()),
            Self::RsaPssSha512MaxSalt => (Wire::RsaPssSha512MaxSalt, MessageDigest::sha512()),
            Self::EcdsaP256Sha256 => (Wire::EcdsaP256Sha256, MessageDigest::sha256()),
            Self::EcdsaP384Sha384 => (Wire::EcdsaP384Sha384, MessageDigest::sha384()),
            Self::Ed25519 => return (Wire::Ed25519, None),
        };
        (wire, Some(hash))
    }
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let (scheme, hash) = args.scheme.wire();
    let (digest, message) = match (&args.digest, &args.file, hash) {
        (Some(_), _, None) => {
            return Err(
                CliError::usage("Ed25519 signs the message, not its digest").with_hint("name the file instead of --digest")
            );
        }
        (Some(hex), _, Some(_)) => {
            (const_hex::decode(hex.trim()).map_err(|_| CliError::usage("--digest is not hex"))?, Vec::new())
        }
        (None, Some(file), Some(hash)) => (digest_of(file, hash)?, Vec::new()),
        (None, Some(file), None) => (Vec::new(), message_of(file)?),
        (None, None, _) => return Err(CliError::usage("name a file, or give --digest")),
    };
    let signed = if hash.is_some() { digest.clone() } else { openssl::sha::sha256(&message).to_vec() };
    // Before the key is used, so that a signature that cannot be written is not made.
    let file = args.out.begin(Readers::All)?;
    let request = pb::SignRequest { key_label: args.key.clone(), scheme: scheme.into(), digest, message };
    let answer = args.client.keys().await?.sign(args.client.request(request)).await?.into_inner();
    let bytes = match args.format {
        SignatureFormat::Raw => answer.signature.clone(),
        SignatureFormat::Hex => (const_hex::encode(&answer.signature) + "\n").into_bytes(),
        SignatureFormat::Base64 => (STANDARD.encode(&answer.signature) + "\n").into_bytes(),
    };
    if let Some(file) = file {
        file.write(&bytes)?;
    } else if !output.is_json() {
        return Ok(raw(&bytes)?);
    }
    if output.is_json() {
        let value = json!({
            "key": args.key,
            "scheme": scheme.as_str_name().trim_start_matches("SIGNATURE_SCHEME_"),
            "digest": const_hex::encode(signed),
            "signature": const_hex::encode(&answer.signature),
            "fingerprint": answer.fingerprint,
        });
        output.result(&value, String::new);
    }
    Ok(())
}

fn opened(file: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(input::open(file)?) })
}

/// Reads a message that is signed itself.
fn message_of(file: &Path) -> Result<Vec<u8>, CliError> {
    let trouble = |error: io::Error| CliError::file("read", file, &error);
    let mut message = Vec::new();
    let most = LONGEST_MESSAGE as u64 + 1;
    opened(file).map_err(trouble)?.take(most).read_to_end(&mut message).map_err(trouble)?;
    match message.len() {
        0 => Err(CliError::usage(format!("{} is empty", file.display()))),
        length if length > LONGEST_MESSAGE => Err(CliError::usage(format!(
            "{} is longer than {LONGEST_MESSAGE} bytes, which Ed25519 signs at most",
            file.display()
        ))
        .with_hint("sign a digest of it with another scheme, or a file that contains its digest")),
        _ => Ok(message),
    }
}

fn digest_of(file: &Path, hash: MessageDigest) -> Result<Vec<u8>, CliError> {
    let trouble = |error: io::Error| CliError::file("read", file, &error);
    let mut input = opened(file).map_err(trouble)?;
    let mut hasher = Hasher::new(hash).map_err(|error| CliError::other(format!("cannot hash: {error}")))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match input.read(&mut buffer).map_err(trouble)? {
            0 => break,
            count => hasher.update(&buffer[..count]).map_err(|error| CliError::other(format!("cannot hash: {error}")))?,
        }
    }
    let digest = hasher.finish().map_err(|error| CliError::other(format!("cannot hash: {error}")))?;
    Ok(digest.to_vec())
}
