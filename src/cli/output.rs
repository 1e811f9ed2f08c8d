//! Standard output: tables for people, one JSON object per command for programs.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::error::CliError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// Where results go. A closed pipe ends the output, not the program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    /// A result: `value` for programs, what `people` writes for people.
    pub(super) fn result(self, value: &Value, people: impl FnOnce() -> String) {
        match self.format {
            Format::Json => line(&value.to_string()),
            Format::Table => line(people().trim_end()),
        }
    }

    pub(super) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// A failure: for people on standard error, for programs as the last line of standard output.
    pub(super) fn fail(self, error: &CliError) -> ExitCode {
        if self.is_json() {
            line(&error_object(error).to_string());
        } else {
            let reason = error.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let mut text = format!("error: {}{reason}\n", error.message);
            if let Some(hint) = &error.hint {
                text += &format!("hint: {hint}\n");
            }
            let _ = io::stderr().write_all(text.as_bytes());
        }
        error.exit.into()
    }
}

fn error_object(error: &CliError) -> Value {
    json!({ "error": {
        "code": error.code.map(code_name),
        "reason": error.reason,
        "message": error.message,
        "metadata": error.metadata,
        "hint": error.hint,
    }})
}

/// A canonical code's name as the specification writes it.
fn code_name(code: tonic::Code) -> String {
    let mut name = String::new();
    for (index, letter) in format!("{code:?}").chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Bytes to standard output, as they are.
pub(super) fn raw(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A table with a header, without lines: it can be cut and searched with the usual tools.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned() + "\n").collect()
}

/// Names and values, one per line.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:<width$}  {}\n", printable(value)))
        .collect()
}

/// Foreign text without the characters that move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter }).collect()
}

/// "yes" or "no".
pub(super) fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::Exit;

    #[test]
    fn codes_are_written_as_the_specification_does() {
        assert_eq!(code_name(tonic::Code::FailedPrecondition), "FAILED_PRECONDITION");
        assert_eq!(code_name(tonic::Code::Ok), "OK");
    }

    #[test]
    fn the_error_object_has_all_its_fields() {
        let object = error_object(&CliError::new(Exit::Other, "no"));
        let fields: Vec<_> = object["error"].as_object().unwrap().keys().collect();
        assert_eq!(fields.len(), 5, "{fields:?}");
    }

    #[test]
    fn control_characters_of_foreign_text_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
