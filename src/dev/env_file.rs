//! `DIR/env`: shell variables for a client. The file exists while the service serves, and is always complete.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use stationmaster_system::files::Directory;

use crate::{config::Tcp, server::Addresses};

/// The env file.
#[derive(Debug, Clone)]
pub struct EnvFile(PathBuf);

impl EnvFile {
    /// Returns the env file of a state directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self(directory.join("env"))
    }

    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        let (directory, name) = Directory::of_file(&self.0)?;
        directory.replace(name, 0o644, text.as_bytes())
    }

    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns the lines. A client uses the Unix socket unless it sets `STATIONMASTER_ADDRESS` to `STATIONMASTER_TCP`.
pub(super) fn text(directory: &Path, station: &str, addresses: &Addresses, tls: Option<&Tcp>) -> String {
    let mut lines = String::new();
    let mut export = |name: &str, value: &str| {
        let _ = writeln!(lines, "export STATIONMASTER_{name}={}", quoted(value));
    };
    export("STATION", station);
    export("STATE", &directory.to_string_lossy());
    if let Some(unix) = &addresses.unix {
        export("ADDRESS", &format!("unix://{}", unix.display()));
    }
    if let (Some(tcp), Some(_)) = (addresses.tcp, tls) {
        export("TCP", &format!("https://{tcp}"));
        let pki = directory.join("pki");
        for (name, file) in [("TLS_CA", "ca.pem"), ("TLS_CERT", "client.pem"), ("TLS_KEY", "client.key")] {
            export(name, &pki.join(file).to_string_lossy());
        }
    }
    lines
}

/// Quotes a value for a shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls() -> Tcp {
        Tcp {
            address: "127.0.0.1:0".parse().unwrap(),
            cert: "c".into(),
            key: PathBuf::from("k").into(),
            client_ca: "a".into(),
            client_crl: None,
        }
    }

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let strange = directory.path().join("a b'$(false)");
        fs::create_dir(&strange).unwrap();
        let addresses = Addresses { unix: Some(strange.join("api.sock")), tcp: Some("127.0.0.1:4711".parse().unwrap()) };
        let file = EnvFile::new(&strange);
        file.write(&text(&strange, "stat'ion", &addresses, Some(&tls()))).unwrap();
        let shell = std::process::Command::new("sh")
            .args(["-c", ". \"$0\"/env; printf '%s\\n' \"$STATIONMASTER_STATION\" \"$STATIONMASTER_ADDRESS\" \"$STATIONMASTER_TCP\" \"$STATIONMASTER_TLS_CA\""])
            .arg(&strange)
            .output()
            .unwrap();
        let shown = strange.display();
        let expected = format!("stat'ion\nunix://{shown}/api.sock\nhttps://127.0.0.1:4711\n{shown}/pki/ca.pem\n");
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), expected);
        file.remove();
        assert!(!strange.join("env").exists());
    }
}
