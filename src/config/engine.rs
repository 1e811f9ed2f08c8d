//! `[engine]`: the container engine, and what the environment says about it.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

/// `[engine]`: the container engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Its Unix socket, `unix:///path`.
    pub socket: String,
    /// Maximum time until the response to a request begins, in seconds.
    pub timeout_s: u64,
    /// Whether only the new layer of an image is sent to the engine.
    pub partial_load: PartialLoadSetting,
}

/// Whether only the new layer of an image or the whole image is sent to the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartialLoadSetting {
    /// Only the new layer; the whole image from then on when the engine refuses it.
    #[default]
    Auto,
    /// Always the whole image.
    Never,
}

impl Default for EngineConfig {
    fn default() -> Self {
        // As every client of the engine does; this service does not use an engine over TCP ([`EngineConfig::passed_over`]).
        let named = std::env::var("DOCKER_HOST").ok().filter(|host| host.starts_with("unix://"));
        Self {
            socket: named.unwrap_or_else(|| "unix:///var/run/docker.sock".into()),
            timeout_s: 1200,
            partial_load: PartialLoadSetting::Auto,
        }
    }
}

impl EngineConfig {
    /// Returns the engine that `docker` would use in this environment, if this service does not support it: by `DOCKER_HOST`, `DOCKER_CONTEXT`
    /// or docker's own configuration. A socket that the configuration names has precedence over the environment.
    #[must_use]
    pub fn passed_over(&self) -> Option<String> {
        if self.socket != Self::default().socket {
            return None;
        }
        Self::named_elsewhere(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Returns the engine that an environment names, if it is not a Unix socket.
    fn named_elsewhere(set: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        if let Some(host) = set("DOCKER_HOST") {
            return (!host.starts_with("unix://")).then(|| format!("DOCKER_HOST={host}"));
        }
        let is_other = |context: &String| context != "default";
        if let Some(context) = set("DOCKER_CONTEXT") {
            return Some(context).filter(is_other).map(|context| format!("DOCKER_CONTEXT={context}"));
        }
        let directory = set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(PathBuf::from(set("HOME")?).join(".docker")))?;
        let file = directory.join("config.json");
        let docker: DockerConfig =
            serde_json::from_slice(&stationmaster_system::files::input::read(&file, 1 << 20).ok()?).ok()?;
        let context = docker.current_context.filter(|context| !context.is_empty()).filter(is_other)?;
        Some(format!("the context {context:?} of {}", file.display()))
    }

    /// Returns the maximum time until the response to a request begins.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

/// The part of Docker's `config.json` that selects the engine.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_only_docker_would_use_is_named() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".docker");
        std::fs::create_dir(&config).unwrap();
        std::fs::write(config.join("config.json"), r#"{"auths":{},"currentContext":"remote"}"#).unwrap();
        let home = home.path().to_str().unwrap();
        let named = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            EngineConfig::named_elsewhere(&find)
        };
        assert_eq!(named(&[("DOCKER_HOST", "tcp://h:1"), ("HOME", home)]).unwrap(), "DOCKER_HOST=tcp://h:1");
        assert_eq!(named(&[("DOCKER_HOST", "ssh://u@h")]).unwrap(), "DOCKER_HOST=ssh://u@h");
        assert_eq!(named(&[("DOCKER_HOST", "unix:///run/docker.sock"), ("DOCKER_CONTEXT", "remote"), ("HOME", home)]), None);
        assert_eq!(named(&[("DOCKER_CONTEXT", "remote")]).unwrap(), "DOCKER_CONTEXT=remote");
        assert_eq!(named(&[("DOCKER_CONTEXT", "default"), ("HOME", home)]), None);
        assert!(named(&[("HOME", home)]).unwrap().contains("the context \"remote\" of "));
        assert_eq!(named(&[("DOCKER_CONFIG", "/nowhere"), ("HOME", home)]), None);
        assert_eq!(named(&[]), None);
    }
}
