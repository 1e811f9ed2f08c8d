//! Creates the PKI of a development station: a CA, a server certificate for loopback, a client certificate. Valid for 30 days; created
//! anew at a start that finds it missing or with less than a week left.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use super::{DevError, trouble};
use crate::files::{Directory, make_directory};

/// The client's name in its certificate.
pub(super) const CLIENT: &str = "client.stationmaster.internal";
const DAY: Duration = Duration::from_secs(86_400);
const LIFE: Duration = DAY.saturating_mul(30);
const RENEW: Duration = DAY.saturating_mul(7);

/// The files a server needs; a client's are beside them.
#[derive(Debug)]
pub(super) struct Files {
    pub ca: PathBuf,
    pub server_cert: PathBuf,
    pub server_key: PathBuf,
}

/// The PKI in `directory`, made when it must be.
pub(super) fn ensure(directory: &Path, station: &str) -> Result<Files, DevError> {
    make_directory(directory).map_err(trouble("make", directory))?;
    // Holds the moment of its end, in seconds; written last, so a start that was cut off makes all of it anew.
    let until = directory.join("until");
    if !fresh(&until) {
        make(directory, station)?;
        let end = seconds(SystemTime::now()) + LIFE.as_secs();
        write(&until, &format!("{end}\n"), 0o600).map_err(trouble("write", &until))?;
    }
    Ok(Files {
        ca: directory.join("ca.pem"),
        server_cert: directory.join("server.pem"),
        server_key: directory.join("server.key"),
    })
}

fn fresh(until: &Path) -> bool {
    let end: Option<u64> = fs::read_to_string(until).ok().and_then(|text| text.trim().parse().ok());
    end.is_some_and(|end| end > seconds(SystemTime::now()) + RENEW.as_secs())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn make(directory: &Path, station: &str) -> Result<(), DevError> {
    let flaw = |error: rcgen::Error| DevError::Pki(error.to_string());
    let mut params = params(&format!("stationmaster dev authority of {station}"), &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Its key dies here: the authority can never sign anything else.
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(flaw)?).map_err(flaw)?;
    let mut files = vec![("ca.pem".to_owned(), authority.pem(), 0o644)];

    let ends = [
        ("server", vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()], ExtendedKeyUsagePurpose::ServerAuth),
        ("client", vec![CLIENT.to_owned()], ExtendedKeyUsagePurpose::ClientAuth),
    ];
    for (name, subjects, usage) in ends {
        let mut params = self::params(&format!("stationmaster dev {name} of {station}"), &subjects)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(flaw)?;
        let certificate = params.signed_by(&key, &authority).map_err(flaw)?;
        files.push((format!("{name}.pem"), certificate.pem(), 0o644));
        files.push((format!("{name}.key"), key.serialize_pem(), 0o600));
    }
    for (name, text, mode) in files {
        let path = directory.join(name);
        write(&path, &text, mode).map_err(trouble("write", &path))?;
    }
    Ok(())
}

fn params(name: &str, subjects: &[String]) -> Result<CertificateParams, DevError> {
    let mut params = CertificateParams::new(subjects).map_err(|error| DevError::Pki(error.to_string()))?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.chars().take(60).collect::<String>());
    let now = SystemTime::now();
    // A day back: clocks of containers and virtual machines lag.
    params.not_before = (now - DAY).into();
    params.not_after = (now + LIFE).into();
    Ok(params)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let (directory, name) = Directory::of_file(path)?;
    directory.replace(name, mode, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Tcp, server::tls::Identity};

    #[test]
    fn what_is_made_can_be_served_and_is_kept_while_it_is_fresh() {
        let directory = tempfile::tempdir().unwrap();
        let files = ensure(directory.path(), "s").unwrap();
        let tcp = Tcp {
            address: "127.0.0.1:0".parse().unwrap(),
            cert: files.server_cert.clone(),
            key: files.server_key.clone(),
            client_ca: files.ca,
            client_crl: None,
        };
        Identity::load(&tcp).unwrap();
        let before = fs::read(&files.server_cert).unwrap();
        ensure(directory.path(), "s").unwrap();
        assert_eq!(fs::read(&files.server_cert).unwrap(), before);

        fs::write(directory.path().join("until"), format!("{}", seconds(SystemTime::now()) + 3600)).unwrap();
        ensure(directory.path(), "s").unwrap();
        assert_ne!(fs::read(&files.server_cert).unwrap(), before);
    }
}
