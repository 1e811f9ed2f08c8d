//! `audit verify`: verifies that a log was not changed since it was written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    audit::{
        self, read,
        verify::{Expected, Head, LogVerification, verify, verify_both},
    },
    cli::{
        error::{CliError, Exit},
        key_file,
        output::{Output, count, fields, printable, table},
    },
};

/// Number of spans of unsigned records that are shown individually.
const SPANS_SHOWN: usize = 3;

const AFTER: &str = "\
Detects a changed byte, a removed, added or moved record, a checkpoint that the
audit key did not sign, and an older segment among later ones. A log that was
truncated, or replaced as a whole by an older copy, is a valid earlier state of
itself: only a head that was stored elsewhere reveals this. So store the head
that this command prints (and the public key) on another machine, and pass it
with --expect-head next time. Records after the last checkpoint are protected
by the chain alone, and so were those that are reported as unsigned while the
service was not running.

With the directory of both logs (STATE/audit), the log of administrators'
commands is verified too: the service records its head in its own, signed log.
Archived segments come first: audit verify ARCHIVE STATE/audit.

Uses of keys are counted by key and principal, and compared with the token's own
count at every checkpoint.

Exit code 8 if a flaw is found, and with --key if no checkpoint is signed.

Examples:
  stationmaster audit verify /var/lib/stationmaster/audit --key audit.pem
  stationmaster audit verify 00000001.jsonl 00000002.jsonl --key audit.pem \\
      --expect-head 1234:9f3c…";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// The audit's directory, a log's directory, or segments in their order
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// The audit key's public half, PEM: `key export audit`; again for each key that signed before it. Without it no signature is verified
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// A head that was stored earlier, SIZE:HASH: the log must contain it
    #[arg(long, value_name = "HEAD")]
    expect_head: Option<Head>,
    /// The log of administrators' commands, if it is not in the directory of the service's log
    #[arg(long, value_name = "DIR")]
    administrators: Vec<PathBuf>,
    /// Accept a log without checkpoints: segments between two checkpoints, or the administrators' log alone
    #[arg(long, requires = "key")]
    allow_unsigned: bool,
}

pub(super) fn run(args: &Args, output: Output) -> Result<Exit, CliError> {
    let keys = args.key.iter().map(|file| key_file::checkpoint_key(file)).collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let expected = Expected { keys: &keys, head: args.expect_head, allow_unsigned: args.allow_unsigned };
    let (segments, found_administrators) = gather(&args.paths)?;
    let administrators = match &args.administrators[..] {
        [] => found_administrators,
        directories => Some(gather(directories)?.0),
    };
    let (found, others) = match administrators {
        None => (verify(&segments, expected)?, None),
        Some(administrators) => {
            let (found, others) = verify_both(&segments, &administrators, expected)?;
            (found, Some(others))
        }
    };
    output.result(&json_of(&found, others.as_ref(), !keys.is_empty()), || people(&found, others.as_ref(), !keys.is_empty()));
    Ok(if found.holds() { Exit::Done } else { Exit::Broken })
}

/// Returns the segments that the paths name, in order; and those of the administrators' log, if a path is the directory of both.
fn gather(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Option<Vec<PathBuf>>), CliError> {
    let (mut files, mut directories, mut administrators) = (Vec::new(), Vec::new(), None::<Vec<PathBuf>>);
    for path in paths {
        let is = fs::metadata(path).map_err(|error| CliError::file("read", path, &error))?;
        if !is.is_dir() {
            files.push(path.clone());
        } else if is_log(path)? {
            directories.push(path.clone());
        } else if is_log(&path.join(audit::SERVICE))? {
            directories.push(path.join(audit::SERVICE));
            let others = path.join(audit::ADMINISTRATORS);
            administrators.get_or_insert_default().extend(is_log(&others)?.then_some(others));
        } else {
            let what = format!("{} contains no audit log: no 00000001.jsonl or similar file", path.display());
            return Err(CliError::new(Exit::NotFound, what).with_hint(
                "name the audit directory (`[audit] directory`; by default STATE/audit), or the service's log in it",
            ));
        }
    }
    let listed = |directories: &[PathBuf]| -> Result<Vec<PathBuf>, CliError> {
        Ok(read::segments_of(directories)?.into_iter().map(|(_, path)| path).collect())
    };
    let mut segments = listed(&directories)?;
    segments.append(&mut files);
    Ok((segments, administrators.map(|directories| listed(&directories)).transpose()?))
}

fn is_log(directory: &Path) -> Result<bool, CliError> {
    Ok(directory.is_dir() && !read::segments(directory)?.is_empty())
}

fn json_of(found: &LogVerification, others: Option<&LogVerification>, with_key: bool) -> serde_json::Value {
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
        "signatures_checked": with_key,
        "checkpoints": found.checkpoints,
        "covered": found.covered,
        "unsigned": found.unsigned.iter().map(|span| json!({ "first": span.first, "last": span.last })).collect::<Vec<_>>(),
        "unsigned_count": found.unsigned_count,
        "long_lines": found.long_lines,
        "administrators": {
            "seen": found.administrators.as_ref().map(|(log, head)| json!({ "log": log, "head": head.to_string() })),
            "checked": others.map(|others| json!({ "log": others.log, "head": others.head.map(|head| head.to_string()) })),
        },
        "torn_bytes": found.torn_bytes,
        "key_uses": uses,
        "flaws": found.flaws.iter().map(|flaw| json!({ "file": flaw.file, "line": flaw.line, "what": flaw.what })).collect::<Vec<_>>(),
        "flaw_count": found.flaw_count,
    })
}

fn people(found: &LogVerification, others: Option<&LogVerification>, with_key: bool) -> String {
    let size = found.head.map_or(0, |head| head.size);
    let covered = match (with_key, found.checkpoints) {
        (false, _) => "not verified: no --key was given".to_owned(),
        (true, 0) => "none".to_owned(),
        (true, count) => format!("{count}; the last covers the first {} records of {size}", found.covered),
    };
    let administrators = match (&found.administrators, others) {
        (None, None) => None,
        (_, Some(others)) => Some(match others.head {
            Some(head) => format!("{} records, as recorded by the service", head.size),
            None => "no log".to_owned(),
        }),
        (Some((_, head)), None) => {
            Some(format!("not verified: the service recorded {} records (name the directory of both logs)", head.size))
        }
    };
    let verdict = match (found.holds(), with_key) {
        (false, _) => format!("INVALID: {}", count(found.flaw_count, "flaw", "flaws")),
        (true, true) => "no flaw was found".to_owned(),
        (true, false) => "the chain is valid; signatures were not verified: no --key was given".to_owned(),
    };
    let head = found.head.map(|head| head.to_string()).unwrap_or_default();
    let mut rows = vec![
        ("Log", printable(&found.log)),
        ("Records", format!("{} to {}", found.first, size.saturating_sub(1))),
        ("Head", head),
        ("Checkpoints", covered),
    ];
    rows.extend(administrators.map(|administrators| ("Administrators", administrators)));
    let mut text = fields(&rows);
    if found.torn_bytes > 0 {
        text += &format!(
            "The end is incomplete ({} bytes): a record that was never confirmed, or that is being written.\n",
            found.torn_bytes
        );
    }
    for span in found.unsigned.iter().take(SPANS_SHOWN) {
        text += &format!(
            "Unsigned while the service was not running: records {} to {}. A change during that time cannot be detected.\n",
            span.first, span.last
        );
    }
    if found.unsigned_count > SPANS_SHOWN as u64 {
        text += &format!("Unsigned while the service was not running: {} times in total.\n", found.unsigned_count);
    }
    if found.long_lines > 0 {
        text += &format!("{} lines exceed the present maximum length: an older version wrote them.\n", found.long_lines);
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
    // Last, so that it is visible.
    text + &fields(&[("Verdict", verdict)])
}
