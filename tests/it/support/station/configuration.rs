//! The configuration file that a station is started with in place of `--dev`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{super::Engine, Station};

/// For [`Launch::start_configured`]: the engine is always sent the whole image.
pub fn whole_images(config: &mut toml::Table) {
    let engine = config.entry("engine").or_insert_with(|| toml::Table::new().into());
    engine.as_table_mut().expect("a section").insert("partial_load".into(), "never".into());
}

/// For [`Launch::start_configured`]: only keys in the trust file are trusted, which is beside the configuration.
pub fn pinned(config: &mut toml::Table) {
    config.remove("trust");
}

/// For [`Launch::start_configured`]: a setting of a section.
pub fn set(config: &mut toml::Table, section: &str, key: &str, value: impl Into<toml::Value>) {
    let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
    section.as_table_mut().expect("a section").insert(key.into(), value.into());
}

/// For [`Launch::start_configured`]: on TCP, too, with the development station's certificates and any port.
pub fn listen_on_tcp(config: &mut toml::Table) {
    let state = PathBuf::from(config["state"]["directory"].as_str().expect("a directory"));
    let file = |name: &str| state.join("pki").join(name).to_str().expect("UTF-8").to_owned();
    let mut tcp = toml::Table::from_iter([("address".to_owned(), "127.0.0.1:0".into())]);
    for (name, value) in [("cert", file("server.pem")), ("key", file("server.key")), ("client_ca", file("ca.pem"))] {
        tcp.insert(name.into(), value.into());
    }
    set(config, "listen", "tcp", tcp);
}

impl Station {
    /// Writes a configuration for the next start; see [`Launch::start_configured`].
    #[track_caller]
    pub fn configure(&mut self, change: impl FnOnce(&mut toml::Table)) {
        let path = |path: &Path| toml::Value::from(path.to_str().expect("a path in UTF-8"));
        let module =
            stationmaster_keystore::softhsm::find_module().expect("SoftHSM's module: run `make test`, which installs it");
        let id = &self.launch.id;
        let mut config: toml::Table = toml::toml! {
            [token]
            label = "stationmaster-dev"
            allow_raw_unwrap = true
            [keys]
            [state]
            [listen]
        };
        config.insert("station".into(), id.as_str().into());
        let mut set = |section: &str, key: &str, value: toml::Value| set(&mut config, section, key, value);
        set("token", "module", path(&module));
        set("token", "pin_file", path(&self.state().join("pin")));
        set("keys", "general", vec![toml::Value::from(format!("{id}-general"))].into());
        set("trust", "mode", "embedded".into());
        set("runs", "directory", path(&self.state().join("runs")));
        set("state", "directory", path(self.state()));
        set("listen", "unix", path(&self.socket()));
        match &self.launch.layouts {
            Some(directory) => set("layouts", "directory", path(directory)),
            None => {
                if let Some(host) = Engine::host() {
                    set("engine", "socket", host.into());
                }
            }
        }
        change(&mut config);
        if let Some(directory) = config.get("audit").and_then(|audit| audit.get("directory")?.as_str()) {
            self.move_audit_to(Path::new(directory));
        }
        let file = self.state().join("test.toml");
        fs::write(&file, config.to_string()).expect("a configuration file");
        self.launch.config = Some(file);
    }

    /// Gives the service's log to another directory, as who configures one does: a service does not begin a new log unasked.
    fn move_audit_to(&self, directory: &Path) {
        let (from, to) = (self.state().join("audit/service"), directory.join("service"));
        if to.exists() || !from.exists() {
            return;
        }
        fs::create_dir_all(&to).expect("a directory");
        for entry in fs::read_dir(from).expect("a log") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}
