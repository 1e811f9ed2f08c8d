//! The kind of machine, the engine, and the day.

use std::fs;

use bollard::Docker;
use serde::{Deserialize, Serialize};

use crate::support::block_on;

/// Under which circumstances something was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circumstances {
    /// The day.
    pub date: String,
    /// Processor, cores, memory, kernel.
    pub machine: String,
    /// The engine.
    pub engine: String,
    /// The cargo profile of the service.
    #[serde(default)]
    pub build: String,
    /// How many processes wanted a core, on average over the minutes before the end.
    #[serde(default)]
    pub load: String,
}

/// Now and here.
pub fn now() -> Circumstances {
    Circumstances {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        machine: machine(),
        engine: engine(),
        build: build(),
        load: load(),
    }
}

/// The directory of `target` in which the program lies.
fn build() -> String {
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_stationmaster")).parent();
    directory.and_then(std::path::Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').nth(2).unwrap_or("unknown").to_owned()
}

fn machine() -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (text("/proc/cpuinfo"), text("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
        line.unwrap_or("unknown").trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let gib = field(&memory, "MemTotal").split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1_048_576.0;
    format!("{}, {cores} cores, {gib:.0} GiB, Linux {}", field(&cpu, "model name"), text("/proc/sys/kernel/osrelease").trim())
}

fn engine() -> String {
    let asked = block_on(async {
        let docker = Docker::connect_with_defaults()?.negotiate_version().await?;
        Ok::<_, bollard::errors::Error>((docker.version().await?, docker.info().await?))
    });
    let Ok((version, info)) = asked else { return "none".into() };
    format!("Docker {} ({})", version.version.unwrap_or_default(), info.driver.unwrap_or_default())
}
