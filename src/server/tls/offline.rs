//! Reads the TLS files without serving: for checks of a configuration.

use stationmaster_system::files::FileThread;

use super::material::{self, Certificates, Material};
use crate::{
    config::Tcp,
    server::{TlsFault, health::Checked},
};

/// What the TLS files hold. The service could use them, except for what `checked` says.
#[derive(Debug)]
pub struct TlsFiles {
    /// Warnings about dates and certificates, or why no client is admitted now.
    pub checked: Checked,
    /// The service's certificate and those after it, DER.
    pub own: Vec<Vec<u8>>,
    /// The authorities of clients, DER.
    pub authorities: Vec<Vec<u8>>,
}

/// Reads the files as the service does. A key in a token is not looked for.
///
/// # Errors
/// When they cannot be read or used, or other users could have changed them.
pub fn read(files: &Tcp) -> Result<TlsFiles, TlsFault> {
    let read = files.clone();
    // Their file system may hang.
    let material = FileThread::new("tls-files").run_blocking(move || {
        let found = Material::read(&read, None)?;
        let Certificates { own, authorities } = material::certificates(&read)?;
        Ok(TlsFiles { checked: found.checked(), own, authorities })
    });
    material.map_err(|stuck| TlsFault { what: stuck.to_string(), kind: std::io::ErrorKind::TimedOut, hint: None })?
}
