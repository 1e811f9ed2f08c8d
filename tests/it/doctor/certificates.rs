//! Certificates that clients would refuse.

use std::fs;

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    hash::MessageDigest,
    pkey::{PKey, Private},
    x509::{
        X509, X509Name,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

use super::Patient;

/// What a test's certificate states.
struct Wanted<'a> {
    subject: &'a str,
    dns: Option<&'a str>,
    /// Seconds since 1970.
    until: i64,
    is_authority: bool,
}

fn name(text: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", text).unwrap();
    name.build()
}

fn signed(wanted: &Wanted<'_>, key: &PKey<Private>, issuer: &str, signer: &PKey<Private>) -> X509 {
    let mut made = X509::builder().unwrap();
    made.set_version(2).unwrap();
    made.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
    made.set_subject_name(&name(wanted.subject)).unwrap();
    made.set_issuer_name(&name(issuer)).unwrap();
    made.set_pubkey(key).unwrap();
    made.set_not_before(&Asn1Time::from_unix(1_500_000_000).unwrap()).unwrap();
    made.set_not_after(&Asn1Time::from_unix(wanted.until).unwrap()).unwrap();
    if wanted.is_authority {
        made.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    let mut names = SubjectAlternativeName::new();
    match wanted.dns {
        Some(dns) => names.dns(dns),
        None => names.ip("127.0.0.1"),
    };
    let names = names.build(&made.x509v3_context(None, None)).unwrap();
    made.append_extension(names).unwrap();
    made.sign(signer, MessageDigest::sha256()).unwrap();
    made.build()
}

const FAR: i64 = 4_000_000_000;

fn key() -> PKey<Private> {
    PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap()
}

fn own_key(patient: &Patient) -> PKey<Private> {
    PKey::private_key_from_pem(&fs::read(patient.path("pki/server.key")).unwrap()).unwrap()
}

fn put(patient: &Patient, certificates: &[&X509]) {
    let pem: Vec<u8> = certificates.iter().flat_map(|certificate| certificate.to_pem().unwrap()).collect();
    fs::write(patient.path("pki/server.pem"), pem).unwrap();
}

#[test]
fn a_certificate_that_has_expired() {
    let patient = Patient::new();
    let key = own_key(&patient);
    put(&patient, &[&signed(&Wanted { subject: "a", dns: None, until: 1_600_000_000, is_authority: false }, &key, "a", &key)]);
    patient.fails_in("tls", "expired on 2020-09-13", "have a new certificate signed");
}

#[test]
fn a_certificate_of_another_name() {
    let patient = Patient::new();
    let key = own_key(&patient);
    let other = Wanted { subject: "a", dns: Some("other.invalid"), until: FAR, is_authority: false };
    put(&patient, &[&signed(&other, &key, "a", &key)]);
    patient.fails_in("tls", "other.invalid", "subjectAltName");
}

#[test]
fn a_chain_that_lacks_the_intermediate_authority() {
    let patient = Patient::new();
    let (root, between, own) = (key(), key(), own_key(&patient));
    let authority = |subject| Wanted { subject, dns: Some("ca.invalid"), until: FAR, is_authority: true };
    let root_certificate = signed(&authority("Root"), &root, "Root", &root);
    let intermediate = signed(&authority("Intermediate"), &between, "Root", &root);
    let leaf = signed(&Wanted { subject: "a", dns: None, until: FAR, is_authority: false }, &own, "Intermediate", &between);
    let authorities = [root_certificate.to_pem().unwrap(), intermediate.to_pem().unwrap()].concat();
    fs::write(patient.path("pki/ca.pem"), authorities).unwrap();
    put(&patient, &[&leaf]);
    patient.fails_in("tls", "CN=Intermediate", &format!("`cat intermediate.pem >> {}`", patient.path("pki/server.pem")));
    // That command mends it.
    put(&patient, &[&leaf, &intermediate]);
    assert!(patient.diagnosis().failures().is_empty());
    // The wrong order is seen, too.
    put(&patient, &[&leaf, &root_certificate]);
    patient.fails_in("tls", "is not signed by the one after it", "in their order");
}

#[test]
fn a_key_of_another_certificate() {
    let patient = Patient::new();
    fs::write(patient.path("pki/server.key"), key().private_key_to_pem_pkcs8().unwrap()).unwrap();
    patient.fails_in("tls", "is not the private key of the certificate", "openssl x509 -in");
}
