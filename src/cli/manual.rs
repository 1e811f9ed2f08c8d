//! `completions` and `man`: scripts for shells and manual pages, made from the commands themselves.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::{Man, roff::Roff};
use serde_json::json;

use super::{
    Cli,
    error::CliError,
    output::{self, Output},
};

const AFTER: &str = "\
Examples:
  stationmaster completions bash >/etc/bash_completion.d/stationmaster
  stationmaster completions zsh >/usr/share/zsh/vendor-completions/_stationmaster
  stationmaster completions fish >~/.config/fish/completions/stationmaster.fish";

/// Exit codes, as `docs/cli.md` explains them.
const EXIT_STATUS: [(&str, &str); 11] = [
    ("0", "success"),
    ("1", "any other error"),
    ("2", "invalid arguments, configuration, or contents of a file"),
    ("3", "not found"),
    ("4", "refused by the train's checks or by policy"),
    ("5", "wrong state, or busy: try again later, or after another step"),
    ("6", "service, token or engine unavailable"),
    ("7", "not permitted (key, peer, PIN, file)"),
    ("8", "a check was completed and failed"),
    ("9", "a second officer must approve"),
    ("130", "interrupted"),
];

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManualPages {
    /// The directory for the pages, which is created if it does not exist
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn completions(args: &Completions) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stationmaster", &mut script);
    Ok(output::raw(&script)?)
}

pub(super) fn pages(args: &ManualPages, output: Output) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::file("write to", &args.to, &error);
    DirBuilder::new().recursive(true).mode(0o755).create(&args.to).map_err(failed)?;
    let mut root = Cli::command();
    root.build();
    let mut written = Vec::new();
    write_pages(&root, &args.to, &mut written).map_err(failed)?;
    output.result(&json!({ "directory": args.to, "pages": written }), || {
        format!("{} pages in {}", written.len(), args.to.display())
    });
    Ok(())
}

/// Writes the page of a command, and those of its subcommands.
fn write_pages(command: &clap::Command, to: &Path, written: &mut Vec<String>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let file = format!("{name}.1");
    fs::write(to.join(&file), page(command)?)?;
    written.push(file);
    for one in command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help") {
        write_pages(one, to, written)?;
    }
    Ok(())
}

fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    // The template and the text before the options are for terminals; the page has a section for exit codes instead.
    let command = command.clone().help_template("").before_help("");
    let man = Man::new(command).section("1").manual("stationmaster");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_STATUS {
        more.control("TP", []).text([clap_mangen::roff::bold(code)]).text([clap_mangen::roff::roman(meaning)]);
    }
    more.to_writer(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_list_the_exit_codes_of_the_help() {
        let help = super::super::TEMPLATE;
        let codes = help.split_once("Exit codes:").map_or("", |(_, rest)| rest.split("{before-help}").next().unwrap_or_default());
        let listed = |code: &str| codes.split_whitespace().any(|word| word == code);
        assert!(EXIT_STATUS.iter().all(|(code, _)| listed(code)));
        let in_help = codes.split_whitespace().filter(|word| word.parse::<u8>().is_ok());
        assert!(in_help.into_iter().all(|word| EXIT_STATUS.iter().any(|(code, _)| *code == word)));
    }
}
