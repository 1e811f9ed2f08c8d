//! `train open`: decrypts a train's results with the creator's key, without the service.

mod key;

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use stationmaster_image::{
    archive::source::layout_at,
    disk::spool::Spool,
    oci::reference::ImageSource,
    store::{ImageFiles, ImageStore, docker::Engine},
};
use stationmaster_system::{files::input, memory};
use stationmaster_train::selection::Selection;
use tokio_util::sync::CancellationToken;

use self::key::{CreatorKey, KeyArgs};
use super::{
    extract::{self, Extraction},
    input::saved_at,
    notes,
    results::ResultsArgs,
    rules,
};
use crate::{
    cli::{
        error::{CliError, Exit},
        hints,
        output::{Output, fields},
    },
    config,
    protocol::{ReturnedTrain, StepError},
    service::status::{Reason, Refusal, RpcError},
    trust,
};

const AFTER: &str = "\
For the creator of the train: the results are decrypted with the private key that
belongs to the creator's public key in the train. First all checks of `train
verify` are made, then the results (and the code, if it is present) are compared
with the signed digests; if a check fails, nothing is written. The stations' keys
are compared with --trust; without it they are those that the train states.

The train is a file (`-` is standard input): an uncompressed tar of /opt as an
engine exports it, the extractor's output, an archive of `docker save`, or an OCI
archive; an OCI layout directory (DIR or DIR:TAG); or the name of an image in
the engine. The key is a PEM file, or a key in a token: the URI names token,
object and module. PIN or passphrase come from --pin-file, STATIONMASTER_PIN or
the terminal.

Examples:
  stationmaster train open --key creator.pem results.tar -o results \\
      --trust trust.toml
  stationmaster train open \\
      --key 'pkcs11:token=me;object=creator?module-path=/usr/lib/hsm.so' \\
      results.tar -o results
  stationmaster train open --key creator.pem harbor.example/train:latest \\
      -o results --path 'tables/**'";

/// Timeout of the engine.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes that the spool leaves free on its disk.
const RESERVE: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train: a file, `-`, an OCI layout directory, or an image in the engine
    train: String,
    /// The image in a file or layout directory with several images: its name, or a digest (sha256:…)
    #[arg(long = "image", value_name = "NAME")]
    which: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    into: ResultsArgs,
    /// The trusted keys, as `stationmaster trust` writes or exports them
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// The engine's socket, for an image [default: DOCKER_HOST, or /var/run/docker.sock]
    #[arg(long, value_name = "SOCKET")]
    engine: Option<String>,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<Exit, CliError> {
    open(args, output).map_err(|error| match error.reason.as_deref() == Some(Reason::DiskFull.name()) {
        // The spool is on the disk of the results.
        true => {
            let out = &args.into.out;
            let hint = format!("{}, or name a directory on another one", hints::full(out));
            CliError { message: format!("the disk under {} is full; nothing was opened", out.display()), ..error }.with_hint(hint)
        }
        false => error,
    })
}

fn open(args: &Args, output: Output) -> Result<Exit, CliError> {
    // Before a secret is read.
    memory::protect_process().map_err(|error| CliError::other(format!("the process cannot be closed to others: {error}")))?;
    let paths = Selection::new(&args.into.paths).map_err(CliError::usage)?;
    let store = args.trust.as_deref().map(trust::file::read).transpose()?;
    let mut extraction = Extraction::create(&args.into.out, args.into.force)?;
    // Unnamed ciphertext, on the disk that must have space for the results anyway.
    let spool = Spool::create(&args.into.out, 0, RESERVE).map_err(|error| failed(error.into()))?;
    let which = args.which.as_deref();
    let train = with_archive((&args.train, which), (args.engine.as_deref(), &args.into.out), |archive| match &store {
        Some(store) => {
            ReturnedTrain::read((archive, which), spool, Some(&|kind, id, key| store.check_key(kind, id, key)), &|| Ok(()))
        }
        None => ReturnedTrain::read((archive, which), spool, None, &|| Ok(())),
    })?;
    let proof = train.verification.proof.clone();
    if !proof.report.holds() {
        return Ok(report_broken_rules(&args.train, &train, output));
    }
    let Some(wrapped) = train.wrapped_key().cloned().filter(|_| proof.stops_signed > 0) else {
        return Err(CliError::new(Exit::Refused, "no stop has signed this train yet: there are no results")
            .with_hint("`stationmaster train verify` shows the signed stops"));
    };
    let stated = train.creator_key().map_err(|error| CliError::new(Exit::Refused, error))?;
    let key = CreatorKey::load(&args.key)?;
    if key.public()? != stated {
        let message = format!("{}: this is not the key of the train's creator", args.key.key);
        return Err(CliError::new(Exit::Refused, message).with_hint(format!(
            "the train names {} of {} bits",
            stated.fingerprint(),
            stated.bits()
        )));
    }
    let (train_id, session_id) = (train.verification.train_id.clone(), train.verification.session_id.clone());
    let results = train.open(key.unwrap(&wrapped)?).map_err(failed)?;
    let mut bytes = 0;
    for file in results.files() {
        let (path, size) = file.map_err(failed)?;
        if !paths.contains(path) {
            continue;
        }
        extraction.begin(path.clone(), size)?;
        let mut trouble = None;
        let opened = results.open(path, |plain| {
            extraction.write(plain).map_err(|error| {
                trouble = Some(error);
                StepError::Invariant("a result could not be written")
            })
        });
        match trouble {
            Some(error) => return Err(error),
            None => opened.map_err(failed)?,
        }
        extraction.end(None)?;
        bytes += size;
    }
    let files = extraction.finish()?;
    let warnings = warnings(store.is_some(), results.code_verified, proof.stops_signed, proof.stops);
    let rules = rules::of_report(&proof.report);
    let value = json!({
        "train": args.train,
        "directory": args.into.out,
        "train_id": train_id,
        "session_id": const_hex::encode(&session_id),
        "stops_signed": proof.stops_signed,
        "stops": proof.stops,
        "results_digest": results.digest.to_hex().as_str(),
        "code_verified": results.code_verified,
        "files": extract::value(&files),
        "bytes": bytes,
        "warnings": warnings,
        "rules": rules::value(&rules),
    });
    output.result(&value, || {
        fields(&[
            ("Train", train_id.clone()),
            ("Stops signed", format!("{} of {}", proof.stops_signed, proof.stops)),
            ("Results digest", results.digest.to_hex().as_str().to_owned()),
            ("Directory", args.into.out.display().to_string()),
        ]) + "\n"
            + &extract::people(&files)
            + &notes(&warnings, &[])
    });
    Ok(Exit::Done)
}

fn warnings(is_trusted: bool, code_verified: bool, signed: usize, stops: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if !is_trusted {
        warnings.push("without --trust the stations' keys are those that the train itself states".to_owned());
    }
    if !code_verified {
        warnings.push("the code is not present, so it was not compared with the signed digest".to_owned());
    }
    if signed < stops {
        warnings.push(format!("the route is not complete: {signed} of {stops} stops have signed"));
    }
    warnings
}

/// Reports broken rules as `train verify` does; nothing is opened.
fn report_broken_rules(train: &str, returned: &ReturnedTrain, output: Output) -> Exit {
    let rows = rules::of_report(&returned.verification.proof.report);
    let value =
        json!({ "train": train, "train_id": returned.verification.train_id, "holds": false, "rules": rules::value(&rows) });
    output.result(&value, || format!("NOT valid, not opened: {}\n\n{}", rules::broken(&rows).join(", "), rules::people(&rows)));
    Exit::Broken
}

/// Passes the archive of a file, of standard input, or of an image's `/opt` to `read`. `spool` has space for decompressed layers.
fn with_archive<T>(
    (train, which): (&str, Option<&str>),
    (engine, spool): (Option<&str>, &Path),
    read: impl FnOnce(Box<dyn Read>) -> Result<T, StepError>,
) -> Result<T, CliError> {
    let file = Path::new(train);
    if train == "-" {
        return read(Box::new(io::stdin().lock())).map_err(failed);
    }
    if layout_at(train).map_err(|error| CliError::file("open", file, &error))?.is_some() {
        let archive =
            saved_at(train, which, spool)?.read("/opt", &CancellationToken::new()).map_err(|error| failed(error.into()))?;
        return read(Box::new(archive)).map_err(failed);
    }
    if file.exists() {
        return read(Box::new(input::open(file).map_err(|error| CliError::file("open", file, &error))?)).map_err(failed);
    }
    let image: ImageSource = train
        .parse()
        .map_err(|error: stationmaster_image::ImageError| failed(error.into()).with_hint("there is no such file"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::other(format!("cannot start: {error}")))?;
    let reading = || {
        let default = config::EngineConfig::default();
        if let Some(named) = default.passed_over().filter(|_| engine.is_none()) {
            eprintln!("warning: {named} is not used: the engine at {} is used; --engine selects another", default.socket);
        }
        let engine = Engine::new(
            engine.unwrap_or(&default.socket),
            ENGINE_TIMEOUT,
            &uuid::Uuid::new_v4().to_string(),
            runtime.handle().clone(),
        )?;
        runtime.block_on(engine.check())?;
        let files = engine.files(&engine.resolve(&image)?)?;
        read(files.read("/opt", &CancellationToken::new())?)
    };
    reading().map_err(failed)
}

/// Converts an error; the creator has the key, so the cause may be disclosed.
fn failed(error: StepError) -> CliError {
    match error {
        StepError::Untrusted(cause) => {
            let mut error = CliError::new(
                Exit::Refused,
                format!("the train differs from what was signed, or was not sealed for this key: {cause}"),
            );
            error.reason = Some(Reason::TrainAuthenticationFailed.name().to_owned());
            error.with_hint("nothing was written")
        }
        other => RpcError::from(Refusal::from(other)).into(),
    }
}
