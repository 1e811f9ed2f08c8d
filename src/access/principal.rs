//! Who calls: what a connection proved of the other end.

use std::{fmt, str::FromStr};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Longest name, in bytes.
const LONGEST: usize = 1024;

/// The name of a client whose certificate has no name that a grant could have.
pub const NOBODY: &str = "nobody";

/// Somebody who can be granted something.
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

/// Why a text names no principal.
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

/// All that one connection proved: a grant to any of them counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals(Vec<Principal>);

impl Principals {
    /// The user and the group at the other end of a Unix socket.
    #[must_use]
    pub fn of_socket(uid: u32, gid: u32) -> Self {
        Self(vec![Principal::UnixUser(uid), Principal::UnixGroup(gid)])
    }

    /// The URIs and DNS names of a client's certificate (DER), and the moment of its end, in seconds since 1970. The subject's
    /// common name counts for nothing (RFC 6125 §6.4.4).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_certificate(der: &[u8]) -> Result<(Self, i64), PrincipalError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| PrincipalError)?;
        let until = certificate.validity().not_after.timestamp();
        let names = certificate.subject_alternative_name().map_err(|_| PrincipalError)?;
        let mut found = Vec::new();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            let text = match name {
                GeneralName::URI(uri) => (*uri).to_owned(),
                GeneralName::DNSName(name) => format!("dns:{name}"),
                _ => continue,
            };
            // One that no grant could name is nobody.
            found.extend(text.parse::<Principal>().ok().filter(|principal| is_of(name, principal)));
        }
        // A URI goes first: it is what a SPIFFE certificate has for its name.
        found.sort();
        Ok((Self(found), until))
    }

    /// Somebody, for a decision that is asked for and not for a connection.
    #[must_use]
    pub fn one(principal: Principal) -> Self {
        Self(vec![principal])
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, principal: &Principal) -> bool {
        self.0.contains(principal)
    }

    /// The name that records and limits go by: the first URI, else the first DNS name, else the user.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.first().map_or_else(|| NOBODY.to_owned(), ToString::to_string)
    }
}

/// A certificate's URI must not pass for a user of this machine, nor for a DNS name.
fn is_of(name: &GeneralName<'_>, principal: &Principal) -> bool {
    matches!((name, principal), (GeneralName::URI(_), Principal::Uri(_)) | (GeneralName::DNSName(_), Principal::Dns(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
