//! `config check`: checks a configuration, and the files and sockets it names, without starting anything.

use std::path::PathBuf;

use serde_json::json;

use super::{
    error::{CliError, Exit},
    output::{Output, fields},
};
use crate::{
    checks::{CheckNode, CheckState, files},
    config::{Config, TokenConfig},
};

/// What `config check` does not look at; `doctor` does.
const NOT_CHECKED: [&str; 4] = ["the token and its keys", "the PIN", "the engine", "the chain of the audit log"];

const AFTER: &str = "\
Parses the file, then checks the files and sockets that it names: module, PIN
file, sockets, directories, certificates, access and trust file. It does not load
the module, log in to the token, read a PIN or call the engine: the running
service reports those (`health`), and `doctor` checks them.

Run it as the service's user, who may have fewer permissions than root:
  runuser -u stationmaster -- stationmaster config check --config FILE

Exit code 2 if the file, or a file that it names, cannot be used; 0 if files are
missing that may be created later.";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Parse a configuration, explain it, and check the files that it names
    #[command(after_help = AFTER)]
    Check {
        /// The configuration
        #[arg(long, value_name = "FILE", env = "STATIONMASTER_CONFIG")]
        config: PathBuf,
    },
}

pub(super) fn run(command: Command, output: Output) -> Result<(), CliError> {
    let Command::Check { config: file } = command;
    let config = Config::load(&file)?;
    let unix = config.listen.unix.as_ref().map(|path| format!("unix://{}", path.display()));
    let tcp = config.listen.tcp.as_ref().map(|tcp| format!("https://{}", tcp.address));
    let listen: Vec<String> = [unix, tcp].into_iter().flatten().collect();
    // The engine that `docker` would use here, which the service does not.
    let passed_over = config.engine.passed_over().filter(|_| config.layouts.directory.is_none());
    let findings = files::all(&config);
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.state == CheckState::Wrong).collect();
    if !wrong.is_empty() {
        let lines: String = wrong.iter().map(|finding| format!("\n  {}: {}", finding.what, finding.in_full())).collect();
        let mut error =
            CliError::new(Exit::Usage, format!("{} can be parsed, but the service cannot use it:{lines}", file.display()))
                .with_hint("`config check --help` lists the checks");
        error.metadata = wrong.iter().map(|finding| (finding.what.to_owned(), finding.in_full())).collect();
        return Err(error);
    }
    let value = json!({
        "file": file,
        "station": config.station,
        "token": config.tokens.all()[0].selector().name(),
        "tokens": config.tokens.all().iter().map(|token| token.selector().uri().to_string()).collect::<Vec<_>>(),
        "train_keys": config.keys.train,
        "general_keys": config.keys.general,
        "raw_use": config.keys.raw_use,
        "engine": config.layouts.directory.is_none().then_some(&config.engine.socket),
        "engine_passed_over": passed_over,
        "layouts": config.layouts.directory,
        "state": config.state.directory,
        "listen": listen,
        "trust": { "mode": config.trust.mode.name(), "file": config.trust.file },
        "rules": { "relax": config.rules.relax, "demand": config.rules.demand },
        "four_eyes": { "acts": config.four_eyes.acts, "officers": config.four_eyes.officers },
        "looked_at": findings.iter().map(CheckNode::json).collect::<Vec<_>>(),
        "not_looked_at": NOT_CHECKED,
    });
    output.result(&value, || {
        let summary = fields(&[
            ("Configuration", format!("{} is valid", file.display())),
            ("Station", config.station.clone()),
            ("Token", tokens(&config)),
            ("Train keys", config.keys.train.join(", ")),
            ("General keys", config.keys.general.join(", ")),
            ("Raw use", config.keys.raw_use.join(", ")),
            images(&config),
            ("Engine not used", passed_over.clone().unwrap_or_default()),
            ("State", config.state.directory.display().to_string()),
            ("Listen", listen.join(", ")),
            ("Relaxed rules", config.rules.relax.join(", ")),
            ("Demanded rules", config.rules.demand.join(", ")),
            ("Second officer", config.four_eyes.acts.iter().map(|act| act.name()).collect::<Vec<_>>().join(", ")),
        ]);
        let results: Vec<_> = findings
            .iter()
            .map(|finding| (finding.what, format!("{:<7}  {}", finding.state.name(), finding.in_full())))
            .collect();
        format!(
            "{summary}\nChecked as {}:\n{}\nNot checked: {}\n",
            files::current_user(),
            fields(&results),
            NOT_CHECKED.join(", ")
        )
    });
    Ok(())
}

/// Returns the location of the images.
fn images(config: &Config) -> (&'static str, String) {
    match &config.layouts.directory {
        Some(directory) => ("Layouts", directory.display().to_string()),
        None => ("Engine", config.engine.socket.clone()),
    }
}

/// Returns each token with its module.
fn tokens(config: &Config) -> String {
    let token = |token: &TokenConfig| format!("{} through {}", token.selector().name(), token.module.display());
    config.tokens.all().iter().map(token).collect::<Vec<_>>().join(", ")
}
