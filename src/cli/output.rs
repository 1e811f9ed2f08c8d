//! Standard output: tables for people, one JSON object per command for programs.

mod escape;
mod layout;
mod sink;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::ValueEnum;
pub(super) use escape::printable;
use serde_json::{Value, json};
pub(super) use sink::{Lost, Stdout, lost};

use super::error::{CliError, Exit};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// The output of a command. A closed pipe ends the output, not the command; any other write error makes the command fail at its end
/// ([`end`]).
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Writes a result: `value` for programs, the text of `people` for people.
    pub(super) fn result(self, value: &Value, people: impl FnOnce() -> String) {
        // The sink remembers a write error, and `end` reports it.
        let _ = match self.format {
            Format::Json => line(&escape::json(&value.to_string())),
            Format::Table => line(&for_people(people().trim_end())),
        };
    }

    pub(super) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Reports a failure: to people on standard error, to programs as the last line of standard output.
    pub(super) fn fail(self, error: &CliError) -> ExitCode {
        if error.exit == Exit::Done {
            return error.exit.into();
        }
        // If standard output fails, programs get the message on standard error too.
        let is_written = self.is_json() && !matches!(line(&escape::json(&error_object(error).to_string())), Err(Lost::Failed(_)));
        if !is_written {
            let reason = error.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let mut text = format!("error: {}{reason}\n", error.message);
            if let Some(hint) = &error.hint {
                text += &format!("hint: {hint}\n");
            }
            let _ = io::stderr().write_all(printable(&text).as_bytes());
        }
        error.exit.into()
    }
}

/// Returns a command's exit code after its output was written. A command whose result could not be written fails; an exit code other
/// than 0 is kept.
pub(super) fn end(exit: Exit) -> ExitCode {
    let Some(Lost::Failed(cause)) = lost() else { return exit.into() };
    let text = format!(
        "error: cannot write to standard output: {cause}\nhint: the command was carried out, but its result is lost; repeat commands that are \
         safe to repeat to get the same result\n"
    );
    let _ = io::stderr().write_all(text.as_bytes());
    if exit == Exit::Done { Exit::Other } else { exit }.into()
}

/// Prints clap's own output: help and version.
pub(super) fn help(text: &clap::Error) -> ExitCode {
    if let Err(error) = text.print().and_then(|()| io::stdout().flush()) {
        sink::note(&error);
    }
    end(Exit::Done)
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

/// Returns a status code's name as the gRPC specification spells it.
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

fn line(text: &str) -> Result<(), Lost> {
    sink::write(format!("{text}\n").as_bytes())
}

/// Writes bytes to standard output unchanged.
pub(super) fn raw(bytes: &[u8]) -> Result<(), Lost> {
    sink::write(bytes)
}

/// Writes one line of a stream of records for programs, as JSON.
pub(super) fn record(json: &str) -> Result<(), Lost> {
    line(&escape::json(json))
}

/// Writes one line of a stream of records for people.
pub(super) fn record_for_people(text: &str) -> Result<(), Lost> {
    line(&printable(text))
}

/// Formats a table with a header and no rules, to fit the terminal; without a terminal lines have any length.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    layout::table(header, rows, terminal_width())
}

/// Formats names and values, one per line; fields without a value are omitted.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    layout::fields(fields, terminal_width())
}

/// Returns "yes" or "no".
pub(super) fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Formats a number of items: "1 file", "2 files".
pub(super) fn count(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// Returns the number of columns of the terminal; `None` for a file or a pipe.
fn terminal_width() -> Option<usize> {
    /// Minimum width for the layout.
    const LEAST: usize = 40;
    const USUAL: usize = 80;
    if !io::stdout().is_terminal() {
        return None;
    }
    let asked = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    Some(if asked == 0 { USUAL } else { asked.max(LEAST) })
}

/// Prepares a result for people: control characters are escaped, warnings are wrapped, and problems are coloured on a terminal.
fn for_people(text: &str) -> String {
    let text = printable(text);
    let Some(width) = terminal_width() else { return text };
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let colour = !is_set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    let shown = |line: &str| {
        let line = if line.starts_with("warning: ") || line.starts_with("note: ") {
            layout::wrap(line, width - 2).join("\n  ")
        } else {
            line.to_owned()
        };
        if colour { coloured(&line) } else { line }
    };
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// Colours a problem in a line red: a rule's outcome, a verdict, a warning.
fn coloured(line: &str) -> String {
    const RED: &str = "\x1b[31m";
    const PLAIN: &str = "\x1b[0m";
    if let Some(rest) = line.strip_prefix("warning:") {
        return format!("{RED}warning:{PLAIN}{rest}");
    }
    if line.starts_with("Verdict") && ["NOT", "INVALID"].iter().any(|bad| line.contains(bad)) {
        return format!("{RED}{line}{PLAIN}");
    }
    line.replacen("  broken", &format!("  {RED}broken{PLAIN}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_wrong_is_red_and_nothing_else() {
        assert_eq!(coloured("plain-names  broken   a note"), "plain-names  \x1b[31mbroken\x1b[0m   a note");
        assert_eq!(coloured("plain-names  checked"), "plain-names  checked");
        assert!(coloured("Verdict  NOT valid: x").starts_with('\x1b'));
        assert!(!coloured("Verdict  valid: no rule is broken").contains("\x1b[31mV"));
    }
}
