//! Creates the PKI of a development station: a CA, a server certificate for loopback, a client certificate. Valid for 30 days; created
//! again at a start that finds it missing or valid for less than a week.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509Name,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
        },
    },
};
use stationmaster_system::files::{Directory, make_directory};

use super::{DevError, trouble};

/// The client's name in its certificate.
pub(super) const CLIENT: &str = "client.stationmaster.internal";
const DAY: Duration = Duration::from_secs(86_400);
const LIFE: Duration = DAY.saturating_mul(30);
const RENEW: Duration = DAY.saturating_mul(7);

/// The server's files; those of the client are in the same directory.
#[derive(Debug)]
pub(super) struct Files {
    pub ca: PathBuf,
    pub server_cert: PathBuf,
    pub server_key: PathBuf,
}

/// Returns the PKI in `directory`, which is created if it is missing or about to expire.
pub(super) fn ensure(directory: &Path, station: &str) -> Result<Files, DevError> {
    make_directory(directory).map_err(trouble("create", directory))?;
    // Contains the time of expiry, in seconds; written last, so that an interrupted start creates everything again.
    let until = directory.join("until");
    if !is_fresh(&until) {
        create(directory, station)?;
        let end = seconds(SystemTime::now()) + LIFE.as_secs();
        write(&until, format!("{end}\n").as_bytes(), 0o600).map_err(trouble("write", &until))?;
    }
    Ok(files(directory))
}

/// Returns the paths of the PKI in `directory`.
pub(super) fn files(directory: &Path) -> Files {
    Files { ca: directory.join("ca.pem"), server_cert: directory.join("server.pem"), server_key: directory.join("server.key") }
}

fn is_fresh(until: &Path) -> bool {
    let end: Option<u64> = fs::read_to_string(until).ok().and_then(|text| text.trim().parse().ok());
    end.is_some_and(|end| end > seconds(SystemTime::now()) + RENEW.as_secs())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn create(directory: &Path, station: &str) -> Result<(), DevError> {
    let flaw = |error: ErrorStack| DevError::Pki(error.to_string());
    // Its key is dropped at the end of this function, so that the CA cannot sign anything else.
    let authority = Issuer::new(&format!("stationmaster dev authority of {station}")).map_err(flaw)?;
    let mut files = vec![("ca.pem".to_owned(), authority.certificate.to_pem().map_err(flaw)?, 0o644)];

    let mut server_names = SubjectAlternativeName::new();
    server_names.dns("localhost").ip("127.0.0.1").ip("::1");
    let mut client_names = SubjectAlternativeName::new();
    client_names.dns(CLIENT);
    let (mut server, mut client) = (ExtendedKeyUsage::new(), ExtendedKeyUsage::new());
    server.server_auth();
    client.client_auth();
    for (name, names, usage) in [("server", server_names, server), ("client", client_names, client)] {
        let subject = format!("stationmaster dev {name} of {station}");
        let (certificate, key) = authority.issue(&subject, &names, &usage).map_err(flaw)?;
        files.push((format!("{name}.pem"), certificate.to_pem().map_err(flaw)?, 0o644));
        files.push((format!("{name}.key"), key.private_key_to_pem_pkcs8().map_err(flaw)?, 0o600));
    }
    for (name, text, mode) in files {
        let path = directory.join(name);
        write(&path, &text, mode).map_err(trouble("write", &path))?;
    }
    Ok(())
}

/// A self-signed authority.
struct Issuer {
    certificate: X509,
    key: PKey<Private>,
}

impl Issuer {
    fn new(subject: &str) -> Result<Self, ErrorStack> {
        let key = new_key()?;
        let mut builder = begin(subject, &key)?;
        let subject = name(subject)?;
        builder.set_issuer_name(&subject)?;
        builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
        let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(identifier)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self { certificate: builder.build(), key })
    }

    fn issue(
        &self,
        subject: &str,
        names: &SubjectAlternativeName,
        usage: &ExtendedKeyUsage,
    ) -> Result<(X509, PKey<Private>), ErrorStack> {
        let key = new_key()?;
        let mut builder = begin(subject, &key)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        builder.append_extension(usage.build()?)?;
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let (names, authority) = (names.build(&context)?, AuthorityKeyIdentifier::new().keyid(true).build(&context)?);
        builder.append_extension(names)?;
        builder.append_extension(authority)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok((builder.build(), key))
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&curve)?)
}

/// Returns a certificate with subject, key, serial number and validity, without issuer and extensions.
fn begin(subject: &str, key: &PKey<Private>) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::ONE, false)?;
    let serial = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    let subject = name(subject)?;
    builder.set_subject_name(&subject)?;
    // One day earlier, because clocks of containers and virtual machines lag.
    let now = seconds(SystemTime::now());
    let at = |seconds: u64| Asn1Time::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX));
    let (from, to) = (at(now.saturating_sub(DAY.as_secs()))?, at(now.saturating_add(LIFE.as_secs()))?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&to)?;
    builder.set_pubkey(key)?;
    Ok(builder)
}

/// Returns a distinguished name of one common name, which has at most 64 characters (RFC 5280, appendix A.1).
fn name(common: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, &common.chars().take(60).collect::<String>())?;
    Ok(name.build())
}

fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let (directory, name) = Directory::of_file(path)?;
    directory.replace(name, mode, text)
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
            key: files.server_key.clone().into(),
            client_ca: files.ca,
            client_crl: None,
        };
        Identity::load(&tcp, None).unwrap();
        let before = fs::read(&files.server_cert).unwrap();
        ensure(directory.path(), "s").unwrap();
        assert_eq!(fs::read(&files.server_cert).unwrap(), before);

        fs::write(directory.path().join("until"), format!("{}", seconds(SystemTime::now()) + 3600)).unwrap();
        ensure(directory.path(), "s").unwrap();
        assert_ne!(fs::read(&files.server_cert).unwrap(), before);
    }
}
