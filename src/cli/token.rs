//! `token init|list|status|self-test|show`: initialises a token; shows what tokens are there, whether they can be used, and what works.

mod init;
mod list;
mod self_test;
mod show;
mod status;
pub(super) mod trial;

use super::{
    error::{CliError, Exit},
    output::Output,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Initialise a token
    Init(init::Args),
    /// List the tokens of all slots
    List(list::Args),
    /// Show whether the configured tokens can be used, without a login
    #[command(name = "status")]
    Check(status::Args),
    /// Log in once, and compare what works with what the configuration needs
    SelfTest(self_test::Args),
    /// Show what tokens say of themselves, and what works with each key
    Show(show::Args),
}

pub(super) fn run(command: Command, output: Output) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(&args, output),
        Command::List(args) => list::run(&args, output),
        Command::Check(args) => return status::run(&args, output),
        Command::SelfTest(args) => return self_test::run(&args, output),
        Command::Show(args) => show::run(&args, output),
    }
    .map(|()| Exit::Done)
}
