//! Checks of the service's certificate: whether the service can use it, and whether clients will accept it.

use std::net::{IpAddr, ToSocketAddrs};

use openssl::x509::X509;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::{CheckNode, CheckState};
use crate::{
    config::Tcp,
    server::{TlsFault, tls},
};

const WHAT: &str = "TLS";

/// Checks whether the service can use certificate, key, authorities and revocation lists. A key in a token is not looked for.
#[must_use]
pub fn usable(tcp: &Tcp) -> CheckNode {
    match tls::read(tcp) {
        Ok(_) => {
            let key = tcp.key.uri().map(|uri| format!(", with the key {uri}, which is not looked for")).unwrap_or_default();
            CheckNode::new(WHAT, CheckState::Usable, format!("{}, {}{key}", tcp.cert.display(), tcp.client_ca.display()))
        }
        Err(fault) => of_fault(&fault),
    }
}

fn of_fault(fault: &TlsFault) -> CheckNode {
    let finding = CheckNode::new(WHAT, CheckState::Wrong, fault.what.clone());
    match &fault.hint {
        Some(hint) => finding.with_remedy(hint.clone()),
        None => finding,
    }
}

/// Checks, in addition, what clients check: dates, names and the chain.
#[must_use]
pub fn accepted(tcp: &Tcp) -> CheckNode {
    let files = match tls::read(tcp) {
        Ok(files) => files,
        Err(fault) => {
            let again = format!(
                "`openssl x509 -in {} -noout -text` shows the certificate; docs/tls.md shows how the files are made",
                tcp.cert.display()
            );
            let finding = of_fault(&fault);
            return if finding.remedy.is_none() { finding.with_remedy(again) } else { finding };
        }
    };
    let cert = tcp.cert.display();
    let said = match files.checked {
        Err(over) => {
            return CheckNode::new(WHAT, CheckState::Wrong, over).with_remedy(format!(
                "have a new certificate signed and put it at {cert} (docs/tls.md); the running service takes it"
            ));
        }
        Ok(said) => said,
    };
    let wrong = |note: String, remedy: String| CheckNode::new(WHAT, CheckState::Wrong, note).with_remedy(remedy);
    if let Some((note, remedy)) = gap(tcp, &files.own, &files.authorities) {
        return wrong(note, remedy);
    }
    let address = tcp.address.ip();
    match files.own.first().and_then(|own| other_names(own, address)) {
        Some(names) if !address.is_unspecified() => {
            return wrong(
                format!("{cert} is for {names}, and the service listens on {address}: clients refuse it"),
                format!(
                    "have a certificate signed whose subjectAltName has the name that clients use, and put it at {cert} (docs/tls.md)"
                ),
            );
        }
        _ => {}
    }
    match said {
        Some(warning) => {
            CheckNode::new(WHAT, CheckState::Warned, warning).with_remedy(format!("replace {cert} in time (docs/tls.md)"))
        }
        None => CheckNode::new(WHAT, CheckState::Usable, format!("{cert}: key, chain, names and dates")),
    }
}

/// Returns where the chain of the service's certificate breaks: a certificate that does not sign the one before it, or an intermediate
/// authority that only `client_ca` has.
fn gap(tcp: &Tcp, own: &[Vec<u8>], authorities: &[Vec<u8>]) -> Option<(String, String)> {
    let parse = |der: &'_ [u8]| -> Option<(String, String, bool)> {
        let certificate = parsed(der)?;
        let (subject, issuer) = (certificate.subject(), certificate.issuer());
        Some((subject.to_string(), issuer.to_string(), subject.as_raw() == issuer.as_raw()))
    };
    let cert = tcp.cert.display();
    let names: Vec<_> = own.iter().filter_map(|der| parse(der)).collect();
    for (index, pair) in names.windows(2).enumerate() {
        if !signs(&own[index + 1], &own[index]).unwrap_or(false) {
            let note = format!("{cert}: the certificate of {} is not signed by the one after it, {}", pair[0].0, pair[1].0);
            return Some((
                note,
                format!("put the certificates into {cert} in their order: the service's, then each one's issuer"),
            ));
        }
    }
    let (_, issuer, is_root) = names.last()?;
    let missing = authorities.iter().filter_map(|der| parse(der)).find(|(subject, _, is_root)| subject == issuer && !is_root);
    match missing {
        Some((subject, ..)) if !is_root => Some((
            format!(
                "{cert} ends with a certificate of the intermediate authority {subject}, which is missing in it: clients that know the root only refuse it"
            ),
            format!("append the certificate of {subject} to {cert}: `cat intermediate.pem >> {cert}`"),
        )),
        _ => None,
    }
}

/// Returns whether a certificate, in DER, signs another one.
fn signs(above: &[u8], below: &[u8]) -> Result<bool, openssl::error::ErrorStack> {
    X509::from_der(below)?.verify(&*X509::from_der(above)?.public_key()?)
}

fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    x509_parser::parse_x509_certificate(der).ok().map(|(_, certificate)| certificate)
}

/// Returns the certificate's names if none of them leads to this address: by itself, or as a name of this host that resolves to it.
fn other_names(own: &[u8], address: IpAddr) -> Option<String> {
    let certificate = parsed(own)?;
    let names = certificate.subject_alternative_name().ok()??;
    let ours = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => leads_to(name, address),
        GeneralName::IPAddress(bytes) => match (*bytes, address) {
            ([a, b, c, d], IpAddr::V4(address)) => [*a, *b, *c, *d] == address.octets(),
            (bytes, IpAddr::V6(address)) => bytes == address.octets(),
            _ => false,
        },
        _ => false,
    };
    let all = &names.value.general_names;
    if all.iter().any(ours) {
        return None;
    }
    Some(all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn leads_to(name: &str, address: IpAddr) -> bool {
    let wildcard = name.strip_prefix("*.");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    if wildcard.is_some_and(|domain| host.ends_with(domain)) || name.eq_ignore_ascii_case(&host) {
        return true;
    }
    (name, 0).to_socket_addrs().is_ok_and(|mut found| found.any(|found| found.ip() == address))
}
