//! Logs and checkpoints.

use crate::parsers::audit::{LOG, lines, notes};

/// A service's log; without a beginning, a middle, an end; twice; with half a record.
pub fn audit_logs() -> Vec<Vec<u8>> {
    let lines = lines(LOG);
    let join = |lines: &[&[u8]]| lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<u8>>();
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat();
    vec![
        LOG.to_vec(),
        join(&lines[1..]),
        join(&lines[..lines.len() - 1]),
        join(&lines[..1]),
        join(&without(lines.len() / 2)),
        [LOG, LOG].concat(),
        LOG[..LOG.len() - 20].to_vec(),
        [&vec![b'x'; 1000][..], b"\n", LOG].concat(),
        Vec::new(),
    ]
}

/// Checkpoints, and what is nearly one.
pub fn checkpoints() -> Vec<Vec<u8>> {
    let mut found: Vec<String> = notes();
    let note = found[0].clone();
    found.extend([
        note.replacen('\n', "\r\n", 1),
        note.replacen("\n\n", "\n\nother\n\n", 1),
        note.trim_end().to_owned(),
        format!("{note}\u{2014} other AAAA\n"),
        note.replacen("head ", "head  ", 1),
        note.split("\n\n").next().unwrap_or_default().to_owned(),
    ]);
    found.into_iter().map(String::into_bytes).collect()
}
