//! Checks whether the engine answers, and what it is.

use std::time::Duration;

use stationmaster_image::store::docker::Engine;
use tokio::runtime::Handle;

use super::{CheckNode, CheckState, files};
use crate::config::Config;

/// Maximum time until the engine answers.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Checks the engine's socket, then calls it; or checks the directory of layouts. Blocks; must not be called from async code.
#[must_use]
pub fn answers(config: &Config, runtime: &Handle) -> CheckNode {
    let found = files::images(config);
    if config.layouts.directory.is_some() || found.state != CheckState::Usable {
        // Nothing is served until it is there.
        let state = if found.state == CheckState::NotYet { CheckState::Wrong } else { found.state };
        return CheckNode { state, ..found };
    }
    let socket = &config.engine.socket;
    let report = Engine::new(socket, TIMEOUT, "doctor", runtime.clone()).and_then(|engine| engine.report());
    match report {
        Ok(report) => {
            let note = format!("{} at {socket}, API {}, storage {}", report.version, report.api, report.storage);
            match config.engine.passed_over() {
                Some(other) => {
                    CheckNode::new("Engine", CheckState::Warned, format!("{note}; `docker` uses another one here ({other})"))
                        .with_remedy("[engine] socket names the one that the service is to use")
                }
                None => CheckNode::new("Engine", CheckState::Usable, note),
            }
        }
        Err(error) => CheckNode::new("Engine", CheckState::Wrong, format!("the engine at {socket} does not answer: {error}"))
            .with_remedy("`systemctl status docker` shows why; `systemctl restart docker` starts it again"),
    }
}
