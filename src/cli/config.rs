//! `config check`: whether a configuration can be used, without starting anything.

use std::path::PathBuf;

use serde_json::json;

use super::{
    error::CliError,
    output::{Output, fields},
};
use crate::{
    config::Config,
    trust::{self, TrustError, TrustMode},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Read a configuration and say what it means
    Check {
        /// The configuration
        #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG")]
        config: PathBuf,
    },
}

/// Whom the station believes, and whether the file that says so can be used.
fn trust(config: &Config) -> String {
    let mode = config.trust.mode.name();
    let (Some(file), true) = (&config.trust.file, config.trust.mode != TrustMode::Embedded) else {
        return format!("{mode}: ANYONE can make a train that this station runs");
    };
    match trust::file::read(file) {
        Ok(_) => format!("{mode}, {}", file.display()),
        Err(TrustError::Missing(_)) if config.trust.mode == TrustMode::FirstUse => format!("{mode}, no {} yet", file.display()),
        Err(error) => format!("{mode}; NO TRAIN IS OPENED YET: {error}"),
    }
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    let Command::Check { config: file } = command;
    let config = Config::load(&file)?;
    let unix = config.listen.unix.as_ref().map(|path| format!("unix://{}", path.display()));
    let tcp = config.listen.tcp.as_ref().map(|tcp| format!("https://{}", tcp.address));
    let listen: Vec<String> = [unix, tcp].into_iter().flatten().collect();
    let value = json!({
        "file": file,
        "station": config.station,
        "token": config.token.label,
        "train_keys": config.keys.train,
        "general_keys": config.keys.general,
        "raw_use": config.keys.raw_use,
        "engine": config.layouts.directory.is_none().then_some(&config.engine.socket),
        "layouts": config.layouts.directory,
        "state": config.state.directory,
        "listen": listen,
        "trust": { "mode": config.trust.mode.name(), "file": config.trust.file },
        "rules": { "relax": config.rules.relax, "demand": config.rules.demand },
    });
    output.result(&value, || {
        fields(&[
            ("Configuration", format!("{} can be used", file.display())),
            ("Station", config.station.clone()),
            ("Token", format!("{} through {}", config.token.label, config.token.module.display())),
            ("Train keys", config.keys.train.join(", ")),
            ("General keys", config.keys.general.join(", ")),
            ("Raw use", config.keys.raw_use.join(", ")),
            images(&config),
            ("State", config.state.directory.display().to_string()),
            ("Listen", listen.join(", ")),
            ("Trust", trust(&config)),
            ("Relaxed rules", config.rules.relax.join(", ")),
            ("Demanded rules", config.rules.demand.join(", ")),
        ])
    });
    Ok(())
}

/// Where the images are.
fn images(config: &Config) -> (&'static str, String) {
    match &config.layouts.directory {
        Some(directory) => ("Layouts", directory.display().to_string()),
        None => ("Engine", config.engine.socket.clone()),
    }
}
