//! Principals: the identity that a connection proved.

use std::{fmt, str::FromStr};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Maximum length of a name, in bytes.
const LONGEST: usize = 1024;

/// Maximum number of a certificate's names that are shown to its owner, and the maximum length of each in characters.
const OTHERS: usize = 8;
const LONGEST_SHOWN: usize = 64;

/// Name of a client whose certificate has no name that a grant could have.
pub const NOBODY: &str = "nobody";

/// An identity to which access can be granted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// A URI among a client certificate's subject alternative names (a SPIFFE id is one).
    Uri(String),
    /// A DNS name among them, in lower case.
    Dns(String),
    /// A user at the other end of the Unix socket.
    UnixUser(u32),
    /// The (effective) group there.
    UnixGroup(u32),
}

/// Why a text is not a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a principal is unix:uid=NUMBER, unix:gid=NUMBER, dns:NAME, or a URI as a certificate states it (spiffe://…)")]
pub struct PrincipalError;

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        if text.len() > LONGEST || text.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err(PrincipalError);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            let number = |text: &str| text.parse().map_err(|_| PrincipalError);
            return match rest.split_once('=') {
                Some(("uid", id)) => Ok(Self::UnixUser(number(id)?)),
                Some(("gid", id)) => Ok(Self::UnixGroup(number(id)?)),
                _ => Err(PrincipalError),
            };
        }
        if let Some(name) = text.strip_prefix("dns:") {
            return if name.is_empty() || name.contains('*') { Err(PrincipalError) } else { Ok(Self::Dns(name.to_lowercase())) };
        }
        match text.split_once(':') {
            Some((scheme, rest)) if is_scheme(scheme) && !rest.is_empty() => Ok(Self::Uri(text.to_owned())),
            _ => Err(PrincipalError),
        }
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => f.write_str(uri),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::UnixUser(id) => write!(f, "unix:uid={id}"),
            Self::UnixGroup(id) => write!(f, "unix:gid={id}"),
        }
    }
}

/// All names that one connection proved: a grant to any of them applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals {
    named: Vec<Principal>,
    /// Other subject alternative names of the certificate, for a message to its owner.
    others: Vec<String>,
}

impl Principals {
    /// Returns the user and the group at the other end of a Unix socket.
    #[must_use]
    pub fn of_socket(uid: u32, gid: u32) -> Self {
        Self { named: vec![Principal::UnixUser(uid), Principal::UnixGroup(gid)], others: Vec::new() }
    }

    /// Returns the URIs and DNS names of a client's certificate (DER), and its expiry in seconds since 1970. The subject's common
    /// name is ignored (RFC 6125 §6.4.4).
    ///
    /// # Errors
    /// When the certificate cannot be parsed.
    pub fn of_certificate(der: &[u8]) -> Result<(Self, i64), PrincipalError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| PrincipalError)?;
        let until = certificate.validity().not_after.timestamp();
        let names = certificate.subject_alternative_name().map_err(|_| PrincipalError)?;
        let (mut named, mut others) = (Vec::new(), Vec::new());
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            let text = match name {
                GeneralName::URI(uri) => (*uri).to_owned(),
                GeneralName::DNSName(name) => format!("dns:{name}"),
                _ => String::new(),
            };
            match text.parse::<Principal>().ok().filter(|principal| is_of(name, principal)) {
                Some(principal) => named.push(principal),
                // A name that no grant could have.
                None if others.len() < OTHERS => others.push(described(name)),
                None => {}
            }
        }
        // URIs sort first: a SPIFFE certificate has its name in one.
        named.sort();
        Ok((Self { named, others }, until))
    }

    /// Returns a caller with this name only, for a decision without a connection.
    #[must_use]
    pub fn one(principal: Principal) -> Self {
        Self { named: vec![principal], others: Vec::new() }
    }

    /// Returns whether the principal is one of these names.
    #[must_use]
    pub fn contains(&self, principal: &Principal) -> bool {
        self.named.contains(principal)
    }

    /// Returns why a certificate has no name that a grant could have; `None` when it has one.
    #[must_use]
    pub fn namelessness(&self) -> Option<String> {
        if !self.named.is_empty() {
            return None;
        }
        let has = match &self.others[..] {
            [] => "has no subjectAltName".to_owned(),
            others => format!("has the subjectAltName {} and no other", others.join(", ")),
        };
        Some(format!(
            "the client certificate {has}: a caller is identified by a DNS name (without wildcard) or a URI there; the common name is ignored"
        ))
    }

    /// Returns the name for records and limits: the first URI, else the first DNS name, else the user.
    #[must_use]
    pub fn name(&self) -> String {
        self.named.first().map_or_else(|| NOBODY.to_owned(), ToString::to_string)
    }
}

/// Returns a certificate's name in the notation of OpenSSL.
fn described(name: &GeneralName<'_>) -> String {
    let (kind, value) = match name {
        GeneralName::DNSName(name) => ("DNS", (*name).to_owned()),
        GeneralName::URI(uri) => ("URI", (*uri).to_owned()),
        GeneralName::RFC822Name(name) => ("email", (*name).to_owned()),
        GeneralName::IPAddress(bytes) => ("IP", address(bytes)),
        GeneralName::DirectoryName(name) => ("DirName", name.to_string()),
        GeneralName::RegisteredID(id) => ("Registered ID", id.to_string()),
        GeneralName::OtherName(id, _) => ("otherName", id.to_string()),
        _ => ("another type", String::new()),
    };
    let value: String = value.chars().filter(|character| !character.is_control()).take(LONGEST_SHOWN).collect();
    if value.is_empty() { kind.to_owned() } else { format!("{kind}:{value}") }
}

fn address(bytes: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return std::net::Ipv4Addr::from(four).to_string();
    }
    <[u8; 16]>::try_from(bytes).map_or_else(|_| String::new(), |bytes| std::net::Ipv6Addr::from(bytes).to_string())
}

/// Prevents that a certificate's URI passes for a local user or for a DNS name.
fn is_of(name: &GeneralName<'_>, principal: &Principal) -> bool {
    matches!((name, principal), (GeneralName::URI(_), Principal::Uri(_)) | (GeneralName::DNSName(_), Principal::Dns(_)))
}

#[cfg(test)]
mod tests {
    use crate::authz::principal::*;

    #[test]
    fn principals_are_read_as_they_are_written() {
        for text in ["unix:uid=0", "unix:gid=1000", "dns:airflow.example", "spiffe://hospital.example/airflow", "urn:x:y"] {
            assert_eq!(text.parse::<Principal>().unwrap().to_string(), text);
        }
        assert_eq!("dns:A.Example".parse::<Principal>(), Ok(Principal::Dns("a.example".into())));
        for bad in [
            "",
            "airflow",
            "unix:uid=",
            "unix:uid=-1",
            "unix:0",
            "dns:",
            "dns:*.example",
            "spiffe:",
            "a b:c",
            "1x:y",
            "x\u{1b}:y",
        ] {
            assert_eq!(bad.parse::<Principal>(), Err(PrincipalError), "{bad:?}");
        }
    }

    #[test]
    fn a_certificate_is_known_by_its_alternative_names_only() {
        let mut params = rcgen::CertificateParams::new(vec!["Airflow.example".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "officer.example");
        for uri in ["spiffe://hospital.example/airflow", "unix:uid=0", "dns:officer.example"] {
            params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (principals, until) = Principals::of_certificate(certificate.der()).unwrap();
        assert_eq!(principals.name(), "spiffe://hospital.example/airflow");
        assert!(principals.contains(&Principal::Dns("airflow.example".into())));
        for stolen in ["unix:uid=0", "dns:officer.example"] {
            assert!(!principals.contains(&stolen.parse().unwrap()), "{stolen}");
        }
        assert!(until > 0);
        assert!(Principals::of_certificate(b"not a certificate").is_err());
        assert_eq!(principals.namelessness(), None);
    }

    #[test]
    fn a_certificate_without_a_usable_name_is_reported_with_its_names_and_the_usable_kinds() {
        let said = |names: &[rcgen::SanType]| {
            let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
            params.subject_alt_names = names.to_vec();
            let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let (principals, _) = Principals::of_certificate(certificate.der()).unwrap();
            assert_eq!(principals.name(), NOBODY);
            principals.namelessness().unwrap()
        };
        assert!(said(&[]).contains("has no subjectAltName"), "{}", said(&[]));
        let other = said(&[
            rcgen::SanType::Rfc822Name("a@b.example".try_into().unwrap()),
            rcgen::SanType::IpAddress([127, 0, 0, 1].into()),
            rcgen::SanType::DnsName("*.example".try_into().unwrap()),
            rcgen::SanType::URI("unix:uid=0".try_into().unwrap()),
        ]);
        assert!(other.contains("email:a@b.example, IP:127.0.0.1, DNS:*.example, URI:unix:uid=0"), "{other}");
        assert!(other.contains("DNS name (without wildcard) or a URI"), "{other}");
    }
}
