//! `train open`: decrypts a train's results with the creator's key, without the service.

mod key;
mod uri;

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
    extract::{self, Delivery},
    input::saved_at,
    notes,
    results::Wanted,
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
For whoever made the train: with the private key whose public half the train
names as its creator's, the key of the results is unwrapped and the results are
decrypted. Before that everything is verified that `train verify` can, then that
the results (and the code, where it came along) are what was signed; where
anything does not hold, nothing is written. The stations' keys are compared with
--trust; without it they are those that the train itself states.

The train is a file (`-` is standard input): an uncompressed tar of /opt as an
engine gives it, of what the extractor delivers, or of `docker save`, or an OCI
archive; an OCI layout directory (DIR or DIR:TAG); or the name of an image in
the engine. The key is a PEM file, or a key in a token: the URI names token and
object, and the module. PIN or passphrase come from --pin-file,
STATIONMASTER_PIN or the terminal.

Examples:
  stationmaster train open --key creator.pem results.tar -o results \\
      --trust trust.toml
  stationmaster train open \\
      --key 'pkcs11:token=me;object=creator?module-path=/usr/lib/hsm.so' \\
      results.tar -o results
  stationmaster train open --key creator.pem harbor.example/train:latest \\
      -o results --path 'tables/**'";

/// How long the engine may be silent.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes that the spool leaves free on its disk.
const RESERVE: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The train: a file, `-`, an OCI layout directory, or an image in the engine
    train: String,
    /// Of a file or layout directory that holds several images: which, by a name that it has there, or a digest (sha256:…)
    #[arg(long = "image", value_name = "NAME")]
    which: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    into: Wanted,
    /// The keys to believe, as `stationmaster trust` writes or exports them
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// The engine's socket, for an image [default: that of DOCKER_HOST, or /var/run/docker.sock]
    #[arg(long, value_name = "SOCKET")]
    engine: Option<String>,
}

pub(in crate::cli) fn run(args: &Args, output: Output) -> Result<Exit, CliError> {
    open(args, output).map_err(|error| match error.reason.as_deref() == Some(Reason::DiskFull.name()) {
        // No service's disk: what is kept meanwhile is where the results go.
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
    memory::close().map_err(|error| CliError::other(format!("the process cannot be closed to others: {error}")))?;
    let paths = Selection::new(&args.into.paths).map_err(CliError::usage)?;
    let store = args.trust.as_deref().map(trust::file::read).transpose()?;
    let mut delivery = Delivery::into(&args.into.out, args.into.force)?;
    // Ciphertext, without a name, on the disk that must have room for the results anyway.
    let spool = Spool::create(&args.into.out, 0, RESERVE).map_err(|error| failed(error.into()))?;
    let which = args.which.as_deref();
    let home = with_archive((&args.train, which), (args.engine.as_deref(), &args.into.out), |archive| match &store {
        Some(store) => {
            ReturnedTrain::read((archive, which), spool, Some(&|kind, id, key| store.judge(kind, id, key)), &|| Ok(()))
        }
        None => ReturnedTrain::read((archive, which), spool, None, &|| Ok(())),
    })?;
    let proof = home.verification.proof.clone();
    if !proof.report.holds() {
        return Ok(refused(&args.train, &home, output));
    }
    let Some(wrapped) = home.wrapped_key().cloned().filter(|_| proof.stops_signed > 0) else {
        return Err(CliError::new(Exit::Refused, "no stop has signed this train yet: there are no results")
            .with_hint("`stationmaster train verify` shows how far it came"));
    };
    let stated = home.creator_key().map_err(|error| CliError::new(Exit::Refused, error))?;
    let key = CreatorKey::load(&args.key)?;
    if key.public()? != stated {
        return Err(CliError::new(Exit::Permission, "this is not the key of the train's creator").with_hint(format!(
            "the train names {} of {} bits",
            stated.fingerprint(),
            stated.bits()
        )));
    }
    let (train_id, session_id) = (home.verification.train_id.clone(), home.verification.session_id.clone());
    let results = home.open(key.unwrap(&wrapped)?).map_err(failed)?;
    let mut bytes = 0;
    for file in results.files() {
        let (path, size) = file.map_err(failed)?;
        if !paths.contains(path) {
            continue;
        }
        delivery.begin(path.clone(), size)?;
        let mut trouble = None;
        let opened = results.open(path, |plain| {
            delivery.piece(plain).map_err(|error| {
                trouble = Some(error);
                StepError::Invariant("a result could not be written")
            })
        });
        match trouble {
            Some(error) => return Err(error),
            None => opened.map_err(failed)?,
        }
        delivery.end(None)?;
        bytes += size;
    }
    let files = delivery.finish()?;
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
        warnings.push("the code did not come along, so nobody looked whether it is what you signed".to_owned());
    }
    if signed < stops {
        warnings.push(format!("the train is on its way: {signed} of {stops} stops have signed"));
    }
    warnings
}

/// A broken rule: told as `train verify` tells it, and nothing is opened.
fn refused(train: &str, home: &ReturnedTrain, output: Output) -> Exit {
    let rows = rules::of_report(&home.verification.proof.report);
    let value = json!({ "train": train, "train_id": home.verification.train_id, "holds": false, "rules": rules::value(&rows) });
    output.result(&value, || {
        format!("does not hold, and was not opened: {}\n\n{}", rules::broken(&rows).join(", "), rules::people(&rows))
    });
    Exit::Broken
}

/// Hands on the archive: of a file, of standard input, or of an image's `/opt`. `spool` has room for what lies compressed in a layout.
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
        .map_err(|error: stationmaster_image::ImageError| failed(error.into()).with_hint("there is no such file either"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::other(format!("cannot start: {error}")))?;
    let reading = || {
        let usual = config::Engine::default();
        if let Some(named) = usual.passed_over().filter(|_| engine.is_none()) {
            eprintln!("warning: {named} is not used: the engine at {} is asked; --engine names another", usual.socket);
        }
        let engine =
            Engine::new(engine.unwrap_or(&usual.socket), PATIENCE, &uuid::Uuid::new_v4().to_string(), runtime.handle().clone())?;
        runtime.block_on(engine.check())?;
        let files = engine.files(&engine.resolve(&image)?)?;
        let archive = files.read("/opt", &CancellationToken::new())?;
        read(Box::new(archive))
    };
    reading().map_err(failed)
}

/// The creator holds the key: to them the cause is told.
fn failed(error: StepError) -> CliError {
    match error {
        StepError::Untrusted(cause) => {
            let mut error =
                CliError::new(Exit::Refused, format!("the train is not what was signed, or not for this key: {cause}"));
            error.reason = Some(Reason::TrainAuthenticationFailed.name().to_owned());
            error.with_hint("nothing was written")
        }
        other => RpcError::from(Refusal::from(other)).into(),
    }
}
