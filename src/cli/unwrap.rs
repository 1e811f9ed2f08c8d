//! `unwrap`: opens a wrapped symmetric key, with a general key. Its output is a secret.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    client::ClientArgs,
    error::CliError,
    output::{Output, raw},
};
use crate::pb;

const AFTER: &str = "\
The opened key goes to a file of mode 0600, or to a pipe; to a terminal only
with --force.

Example:
  stationmaster unwrap --key station-1-general \\
      --scheme rsa-oaep-sha256 wrapped.bin -o key.bin";

/// No RSA key that is in use wraps into more.
const LONGEST: u64 = 16 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Label of a general key
    #[arg(long, value_name = "LABEL")]
    key: String,
    /// How it was wrapped
    #[arg(long, value_enum)]
    scheme: Scheme,
    /// The wrapped key, raw; - is standard input
    file: PathBuf,
    /// Where the opened key goes
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write to a terminal, or over a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scheme {
    RsaOaepSha256,
    /// As trains' keys are wrapped
    RsaOaepSha512,
}

pub(super) async fn run(args: Args, output: Output) -> Result<(), CliError> {
    if args.out.is_none() && !args.force && io::stdout().is_terminal() {
        return Err(CliError::usage("key bytes are not written to a terminal").with_hint("-o FILE, a pipe, or --force"));
    }
    // Before the key is opened: a secret without a place to go is not asked for.
    let file = args.out.as_deref().map(|path| secret_file(path, args.force)).transpose()?;
    let scheme = match args.scheme {
        Scheme::RsaOaepSha256 => pb::WrappingScheme::RsaOaepSha256,
        Scheme::RsaOaepSha512 => pb::WrappingScheme::RsaOaepSha512,
    };
    let request = pb::UnwrapKeyRequest { key_label: args.key.clone(), scheme: scheme.into(), wrapped_key: read(&args.file)? };
    let answer = open(&args, request).await;
    let key = match answer {
        Ok(key) => key,
        Err(error) => {
            if let Some(path) = &args.out {
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
    };
    if let (Some(mut file), Some(path)) = (file, &args.out) {
        file.write_all(&key).map_err(|error| CliError::file("write", path, &error))?;
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
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().take(LONGEST).read_to_end(&mut bytes).map_err(trouble)?;
    } else {
        File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)).map_err(trouble)?;
    }
    Ok(bytes)
}

fn secret_file(path: &Path, force: bool) -> Result<File, CliError> {
    if force {
        // A new file: an old one keeps its mode, and whoever has it open.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CliError::file("replace", path, &error));
            }
            _ => {}
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let exists = error.kind() == io::ErrorKind::AlreadyExists;
        let error = CliError::file("write", path, &error);
        if exists { error.with_hint("--force replaces it") } else { error }
    })
}
