//! `image`: commands for images.

mod validate;

use super::{
    error::{CliError, Exit},
    output::Output,
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check that an image is an allowed master plus a train and nothing else
    Validate(validate::Args),
}

pub(super) fn run(command: Command, output: Output) -> Result<Exit, CliError> {
    match command {
        Command::Validate(args) => validate::run(args, output),
    }
}
