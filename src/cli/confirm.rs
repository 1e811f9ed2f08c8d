//! Confirmation of a command that destroys something: the label, typed at the terminal, or for programs the fingerprint.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
};

use super::{
    error::{CliError, Exit},
    output::printable,
};

/// Confirms without a terminal.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ConfirmArgs {
    /// Do not ask; --fingerprint says which key is meant
    #[arg(long, requires = "fingerprint", help_heading = "Confirmation")]
    yes: bool,
    /// The key's fingerprint, as `key show` prints it: SHA256:…
    #[arg(long, value_name = "SHA256:…", requires = "yes", help_heading = "Confirmation")]
    fingerprint: Option<String>,
}

/// What a command is about to destroy.
pub(super) struct Doomed<'a> {
    /// Everything that will be erased, as lines for people.
    pub what: String,
    /// The label that has to be typed.
    pub label: &'a str,
    /// The fingerprint that `--fingerprint` has to equal.
    pub fingerprint: &'a str,
}

impl ConfirmArgs {
    /// Shows what will be erased, and returns once it is confirmed.
    ///
    /// # Errors
    /// Another label was typed, another fingerprint given, or there is neither `--yes` nor a terminal.
    pub(super) fn confirm(&self, doomed: &Doomed<'_>) -> Result<(), CliError> {
        if self.yes {
            // For the log of the calling program. The result names it again.
            let _ = io::stderr().write_all(printable(&doomed.what).as_bytes());
            return self.by_fingerprint(doomed);
        }
        // The terminal itself, because standard input and output may be redirected.
        let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else {
            return Err(CliError::usage("nothing was confirmed, because there is no terminal to type the label at")
                .with_hint("--yes with --fingerprint confirms without a terminal; `key show` prints the fingerprint"));
        };
        ask(doomed, &mut BufReader::new(&terminal), &mut &terminal)
    }

    fn by_fingerprint(&self, doomed: &Doomed<'_>) -> Result<(), CliError> {
        if self.fingerprint.as_deref() == Some(doomed.fingerprint) {
            return Ok(());
        }
        let label = doomed.label;
        Err(CliError::new(
            Exit::Refused,
            format!("the key labelled {label:?} has the fingerprint {}, not that of --fingerprint", doomed.fingerprint),
        )
        .with_hint("nothing was erased; `key list` shows which key has which label"))
    }
}

/// Shows what will be erased on a terminal, and reads the label from it.
fn ask(doomed: &Doomed<'_>, from: &mut impl BufRead, to: &mut impl Write) -> Result<(), CliError> {
    /// The most that is read of a line.
    const LONGEST: u64 = 1024;
    let prompt = format!("{}Type the label to confirm: ", printable(&doomed.what));
    let mut typed = Vec::new();
    let asked = to.write_all(prompt.as_bytes()).and_then(|()| to.flush());
    asked
        .and_then(|()| io::Read::take(from, LONGEST).read_until(b'\n', &mut typed))
        .map_err(|error| CliError::other(format!("the terminal cannot be used: {error}")))?;
    if typed.strip_suffix(b"\n") == Some(doomed.label.as_bytes()) {
        return Ok(());
    }
    Err(CliError::new(Exit::Refused, format!("the label {:?} was not typed", doomed.label)).with_hint("nothing was erased"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOOMED: &str = "SHA256:abc";

    fn doomed() -> Doomed<'static> {
        Doomed { what: "Erases the key \u{1b}[31m\n".to_owned(), label: "station-1", fingerprint: DOOMED }
    }

    #[test]
    fn only_the_whole_label_confirms_and_what_goes_is_shown_before() {
        for (typed, confirms) in [
            ("station-1\n", true),
            ("station-1", false),
            ("station\n", false),
            ("station-1 \n", false),
            ("Station-1\n", false),
            ("y\n", false),
            ("yes\n", false),
            ("\n", false),
            ("", false),
        ] {
            let mut shown = Vec::new();
            let answer = ask(&doomed(), &mut typed.as_bytes(), &mut shown);
            assert_eq!(answer.is_ok(), confirms, "{typed:?}");
            let shown = String::from_utf8(shown).unwrap();
            assert!(shown.starts_with("Erases the key") && !shown.contains('\u{1b}'), "{shown:?}");
            assert!(answer.err().is_none_or(|error| error.exit == Exit::Refused), "{typed:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_read_to_its_end() {
        let mut endless = BufReader::new(io::repeat(b'x'));
        assert!(ask(&doomed(), &mut endless, &mut Vec::new()).is_err());
    }

    #[test]
    fn yes_needs_the_fingerprint_of_the_very_key() {
        for (given, confirms) in [
            (Some("SHA256:abc"), true),
            (Some("SHA256:abd"), false),
            (Some("sha256:abc"), false),
            (Some(""), false),
            (None, false),
        ] {
            let args = ConfirmArgs { yes: true, fingerprint: given.map(str::to_owned) };
            assert_eq!(args.by_fingerprint(&doomed()).is_ok(), confirms, "{given:?}");
        }
    }
}
