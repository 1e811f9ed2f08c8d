//! `unwrap`: unwraps a symmetric key with a general key. Its output is a secret.

use std::{
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde_json::json;
use stationmaster_proto as pb;
use stationmaster_system::files::{Readers, input};
use zeroize::Zeroizing;

use super::{
    client::ClientArgs,
    error::CliError,
    out_file::{self, OutFile},
    output::{Output, raw},
};

const AFTER: &str = "\
The unwrapped key is written to a file of mode 0600, or to a pipe; to a terminal
only with --force.

Example:
  stationmaster unwrap --key station-1-general \\
      --scheme rsa-oaep-sha256 wrapped.bin -o key.bin";

/// Maximum length of a wrapped key, in bytes: more than any RSA key in use needs.
const LONGEST: u64 = 16 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Label or PKCS#11 URI of a general key
    #[arg(long, value_name = "LABEL")]
    key: String,
    /// The scheme with which it was wrapped
    #[arg(long, value_enum)]
    scheme: Scheme,
    /// The wrapped key, raw; - is standard input
    file: PathBuf,
    /// The file for the unwrapped key
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write to a terminal, or replace an existing file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scheme {
    RsaOaepSha256,
    /// The scheme of trains
    RsaOaepSha512,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    let named = out_file::named(args.out.as_deref());
    if named.is_none() && !args.force && io::stdout().is_terminal() {
        return Err(CliError::usage("key bytes are not written to a terminal").with_hint("-o FILE, a pipe, or --force"));
    }
    // Before the output is created, and before --force replaces a file.
    let wrapped_key = read(&args.file)?;
    // Before the key is unwrapped, so that a secret that cannot be written is not requested.
    let file = named.map(|path| OutFile::begin(path, args.force, Readers::Owner)).transpose()?;
    let scheme = match args.scheme {
        Scheme::RsaOaepSha256 => pb::WrappingScheme::RsaOaepSha256,
        Scheme::RsaOaepSha512 => pb::WrappingScheme::RsaOaepSha512,
    };
    let request = pb::UnwrapKeyRequest { key_label: args.key.clone(), scheme: scheme.into(), wrapped_key };
    let key = open(&args, request).await?;
    if let Some(file) = file {
        let path = file.path().to_owned();
        file.write(&key)?;
        output.result(&json!({ "key": args.key, "file": path, "bytes": key.len() }), || format!("Wrote {}", path.display()));
    } else if output.is_json() {
        output.result(&json!({ "key": args.key, "unwrapped": const_hex::encode(&*key) }), String::new);
    } else {
        raw(&key)?;
    }
    Ok(())
}

async fn open(args: &Args, request: pb::UnwrapKeyRequest) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let answer = args.client.keys().await?.unwrap_key(args.client.request(request)).await?;
    Ok(Zeroizing::new(answer.into_inner().key))
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let trouble = |error: io::Error| CliError::file("read", path, &error);
    if path != Path::new("-") {
        return input::read(path, LONGEST).map_err(trouble);
    }
    let mut bytes = Vec::new();
    io::stdin().take(LONGEST + 1).read_to_end(&mut bytes).map_err(trouble)?;
    if bytes.len() as u64 > LONGEST { Err(trouble(input::InputError::TooLong(LONGEST).into())) } else { Ok(bytes) }
}
