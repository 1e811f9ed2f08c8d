//! `audit verify`: whether a log is what was written.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::{
    audit::verify::{Head, Verification, files, verify},
    cli::{
        error::{CliError, Exit},
        output::{Output, fields, printable, table},
    },
    train::keys::PublicKey,
};

const AFTER: &str = "\
Finds a changed byte, a removed, added or moved record, a checkpoint that the audit's key did not sign, and an older segment put
back among later ones. A log that was cut off at its end, or put back as a whole, looks like an earlier state of itself: only
whoever remembers where it was can tell. So keep the head that this prints (and the public key) on another machine, and give it
with --expect-head next time. Records after the last checkpoint are held by the chain alone.

Uses of keys are counted anew, by key and principal, and compared with the token's own count at every checkpoint.

Exit code 8 when something is wrong.

Examples:
  stationmaster audit verify /var/lib/stationmaster/audit/service --key audit.pem
  stationmaster audit verify 00000001.jsonl 00000002.jsonl --key audit.pem --expect-head 1234:9f3c…";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// A log's directory, or its segments in their order
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// The audit's public key, PEM: `key export audit`. Without it no checkpoint counts
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A head that was remembered, SIZE:HASH: the log must have come past it
    #[arg(long, value_name = "HEAD")]
    expect_head: Option<Head>,
}

pub(super) fn run(args: &Args, output: Output) -> Result<Exit, CliError> {
    let key = match &args.key {
        None => None,
        Some(file) => {
            let text = fs::read(file).map_err(|error| CliError::file("read", file, &error))?;
            Some(PublicKey::from_pem(&text).map_err(CliError::usage)?.to_der())
        }
    };
    let mut segments = Vec::new();
    for path in &args.paths {
        segments.extend(files(path)?);
    }
    let found = verify(&segments, key.as_deref(), args.expect_head)?;
    output.result(&json_of(&found), || people(&found, key.is_some()));
    Ok(if found.holds() { Exit::Done } else { Exit::Broken })
}

fn json_of(found: &Verification) -> serde_json::Value {
    let uses: Vec<_> = found
        .uses
        .iter()
        .flat_map(|((label, fingerprint), by)| by.iter().map(move |(principal, uses)| (label, fingerprint, principal, uses)))
        .map(|(label, fingerprint, principal, uses)| {
            json!({
                "label": label,
                "fingerprint": fingerprint,
                "principal": principal,
                "announced": uses.announced,
                "succeeded": uses.succeeded,
                "failed": uses.failed,
            })
        })
        .collect();
    json!({
        "holds": found.holds(),
        "log": found.log,
        "first": found.first,
        "head": found.head.map(|head| head.to_string()),
        "checkpoints": found.checkpoints,
        "covered": found.covered,
        "torn_bytes": found.torn_bytes,
        "key_uses": uses,
        "flaws": found.flaws.iter().map(|flaw| json!({ "file": flaw.file, "line": flaw.line, "what": flaw.what })).collect::<Vec<_>>(),
        "flaw_count": found.flaw_count,
    })
}

fn people(found: &Verification, with_key: bool) -> String {
    let size = found.head.map_or(0, |head| head.size);
    let covered = match (with_key, found.checkpoints) {
        (false, _) => "not looked at: no --key was given".to_owned(),
        (true, 0) => "none".to_owned(),
        (true, count) => format!("{count}; the last covers the first {} records of {size}", found.covered),
    };
    let mut text = fields(&[
        ("Log", printable(&found.log)),
        ("Records", format!("{} to {}", found.first, size.saturating_sub(1))),
        ("Head", found.head.map(|head| head.to_string()).unwrap_or_default()),
        ("Checkpoints", covered),
        ("Verdict", if found.holds() { "nothing is wrong".to_owned() } else { format!("{} flaws", found.flaw_count) }),
    ]);
    if found.torn_bytes > 0 {
        text += &format!(
            "The end is half-written ({} bytes): a record of which nobody was told, or that is being written.\n",
            found.torn_bytes
        );
    }
    let rows: Vec<_> = found
        .uses
        .iter()
        .flat_map(|((label, _), by)| {
            by.iter().map(move |(principal, uses)| {
                vec![
                    printable(label),
                    printable(principal),
                    uses.announced.to_string(),
                    uses.succeeded.to_string(),
                    uses.failed.to_string(),
                ]
            })
        })
        .collect();
    if !rows.is_empty() {
        text += &table(&["KEY", "PRINCIPAL", "USES", "OK", "FAILED"], rows);
    }
    for flaw in &found.flaws {
        text += &format!("{}:{}: {}\n", flaw.file.display(), flaw.line, printable(&flaw.what));
    }
    text
}
