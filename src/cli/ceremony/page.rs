//! The transcript as a page to print: HTML without scripts, links and outside resources.

use std::fmt::Write;

use serde_json::Value;

use super::transcript::Transcript;

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\"><head><meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
<style>body{font:11pt serif;margin:2cm}table{border-collapse:collapse;width:100%}th,td{border:1px solid;padding:3pt;text-align:left;vertical-align:top}\
td{overflow-wrap:anywhere}code{font-size:9pt}.sign td{height:1.5cm}</style>
";

/// Returns the page.
pub(super) fn page(transcript: &Transcript) -> String {
    let open = &transcript.ceremony;
    let mut page = format!("{HEAD}<title>{0}</title></head><body><h1>{0}</h1>\n", escaped(&open.title));
    // Writing to a text does not fail.
    let mut add = |text: std::fmt::Arguments| page.write_fmt(text).unwrap_or_default();
    add(format_args!(
        "<p>Ceremony {}<br>{} to {}</p>\n",
        escaped(&open.id),
        escaped(&open.started),
        escaped(&transcript.finished)
    ));
    add(format_args!("<table><tr><th>No.</th><th>Time</th><th>Person</th><th>Command</th><th>Outcome</th><th>About</th></tr>\n"));
    for record in &transcript.records {
        let cell = |name: &str| escaped(record[name].as_str().unwrap_or_default());
        add(format_args!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} {}</td><td><code>{}</code></td></tr>\n",
            record["seq"].as_u64().unwrap_or_default(),
            cell("time"),
            cell("principal"),
            cell("rpc"),
            cell("outcome"),
            cell("detail"),
            about(record)
        ));
    }
    add(format_args!("</table>\n<h2>Participants</h2>\n<table class=\"sign\"><tr><th>Name</th><th>Signature, date</th></tr>\n"));
    for name in &open.participants {
        add(format_args!("<tr><td>{}</td><td></td></tr>\n", escaped(name)));
    }
    add(format_args!("</table></body></html>\n"));
    page
}

/// Returns the other fields of a record.
fn about(record: &Value) -> String {
    const SHOWN: [&str; 8] = ["seq", "time", "prev", "principal", "rpc", "outcome", "detail", "ceremony"];
    let fields = record.as_object().into_iter().flatten().filter(|(name, _)| !SHOWN.contains(&name.as_str()));
    fields.map(|(name, value)| format!("{}: {}", escaped(name), escaped(&value.to_string()))).collect::<Vec<_>>().join("<br>")
}

/// Escapes a text for elements and attributes.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, letter| {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
        out
    })
}
