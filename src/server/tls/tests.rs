use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use openssl::{asn1::Asn1Time, hash::MessageDigest, pkey::PKey, rsa::Rsa, x509::X509};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::{Identity, material::Material};
use crate::config::Tcp;

const DAY: Duration = Duration::from_secs(86_400);

struct Pki {
    directory: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { directory: tempfile::tempdir().unwrap(), authority };
        pki.put("ca.pem", &pki.authority.pem(), 0o644);
        pki.server(|_| {});
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes a server's certificate and key, modified by `change`.
    fn server(&self, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = (SystemTime::now() - DAY).into();
        params.not_after = (SystemTime::now() + 365 * DAY).into();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        self.put("server.pem", &params.signed_by(&key, &self.authority).unwrap().pem(), 0o644);
        self.put("server.key", &key.serialize_pem(), 0o600);
    }

    fn files(&self) -> Tcp {
        let crl = self.path("crl.pem");
        Tcp {
            address: "127.0.0.1:0".parse().unwrap(),
            cert: self.path("server.pem"),
            key: self.path("server.key").into(),
            client_ca: self.path("ca.pem"),
            client_crl: crl.exists().then_some(crl),
        }
    }

    #[track_caller]
    fn refused(&self, file: &str, words: &str) {
        let error = Material::read(&self.files(), None).err().unwrap_or_else(|| panic!("{words}: it was taken")).to_string();
        assert!(error.contains(words) && error.contains(&self.path(file).display().to_string()), "{words}: {error}");
    }
}

/// Returns a certificate and key as `openssl x509 -req` without extensions makes them.
fn version_1() -> (String, String) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(builder.build().to_pem().unwrap()), text(key.private_key_to_pem_pkcs8().unwrap()))
}

#[test]
fn defects_of_the_services_own_files_are_reported_with_file_and_remedy() {
    let pki = Pki::new();
    Identity::load(&pki.files(), None).unwrap();
    let (good_cert, good_key) =
        (fs::read_to_string(pki.path("server.pem")).unwrap(), fs::read_to_string(pki.path("server.key")).unwrap());
    let (cert, key) = version_1();
    pki.put("server.pem", &cert, 0o644);
    pki.put("server.key", &key, 0o600);
    pki.refused("server.pem", "the service's own certificate is X.509 version 1; TLS requires version 3");

    pki.put("server.pem", &good_cert, 0o644);
    pki.refused("server.key", "it is not the private key of the certificate in");
    let passphrase = PKey::private_key_from_pem(key.as_bytes()).unwrap();
    let cipher = openssl::symm::Cipher::aes_256_cbc();
    let encrypted = passphrase.private_key_to_pem_pkcs8_passphrase(cipher, b"x").unwrap();
    for (text, words) in [
        (String::from_utf8(encrypted).unwrap(), "is an encrypted PRIVATE key; expected a private key in PEM"),
        (good_cert.clone(), "is a certificate; expected a private key in PEM"),
        ("x".to_owned(), "is no key or certificate; expected a private key in PEM"),
    ] {
        pki.put("server.key", &text, 0o600);
        pki.refused("server.key", words);
    }
    pki.put("server.key", &good_key, 0o600);
    pki.put("server.pem", &good_key, 0o644);
    pki.refused("server.pem", "is a PRIVATE key; expected certificates in PEM");
    pki.put("server.pem", &good_cert, 0o644);

    // The rule for files that decide about admission, for each of them.
    pki.put("server.key", &good_key, 0o644);
    pki.refused("server.key", "is readable by others (mode 0644): chmod 600");
    pki.put("server.key", &good_key, 0o600);
    for name in ["server.pem", "ca.pem"] {
        let text = fs::read_to_string(pki.path(name)).unwrap();
        pki.put(name, &text, 0o666);
        pki.refused(name, "is writable by all users");
        pki.put(name, &text, 0o644);
    }
    Identity::load(&pki.files(), None).unwrap();
}

#[test]
fn revocation_lists_are_read_in_pem_and_der_and_what_is_no_list_is_refused() {
    let pki = Pki::new();
    let list = |days: i64| {
        let at = |days: i64| {
            SystemTime::UNIX_EPOCH
                + Duration::from_secs(u64::try_from(jiff::Timestamp::now().as_second() + days * 86_400).unwrap())
        };
        rcgen::CertificateRevocationListParams {
            this_update: at(days - 30).into(),
            next_update: at(days).into(),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        }
        .signed_by(&pki.authority)
        .unwrap()
    };
    let put = |bytes: &[u8]| {
        fs::write(pki.path("crl.pem"), bytes).unwrap();
        fs::set_permissions(pki.path("crl.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    };
    for bytes in [list(7).pem().unwrap().into_bytes(), list(7).der().to_vec()] {
        put(&bytes);
        let material = Material::read(&pki.files(), None).unwrap();
        assert!(material.has_lists() && material.ended_list().is_none());
    }
    put(list(-1).pem().unwrap().as_bytes());
    let ended = Material::read(&pki.files(), None).unwrap().ended_list().expect("it has ended");
    assert!(ended.contains("crl.pem expired on "), "{ended}");
    put(b"no list");
    pki.refused("crl.pem", "is no key or certificate; expected a revocation list in PEM or DER");
    put(&[0x30, 0x03, 1, 1, 1]);
    pki.refused("crl.pem", "expected a revocation list in PEM or DER");
}

#[test]
fn what_clients_will_refuse_of_the_services_certificate_is_known_beforehand() {
    let weak = |change: fn(&mut CertificateParams)| {
        let pki = Pki::new();
        pki.server(change);
        let pem = fs::read(pki.path("server.pem")).unwrap();
        let ders = super::own::certificates(Path::new("server.pem"), &pem).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&ders[0]).unwrap();
        super::own::weaknesses(&parsed).join("; ")
    };
    assert_eq!(weak(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]), "");
    assert!(weak(|params| params.subject_alt_names.clear()).contains("names no host"));
    assert!(weak(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]).contains("lacks serverAuth"));
}

#[test]
fn a_file_of_another_kind_is_named_with_the_command_that_converts_it() {
    let pki = Pki::new();
    let sh = |script: &str| {
        let done = std::process::Command::new("sh").args(["-euc", script]).current_dir(pki.directory.path()).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let good = ["server.pem", "server.key", "ca.pem"].map(|name| (name, fs::read(pki.path(name)).unwrap()));
    sh("openssl x509 -in server.pem -outform DER -out cert.der; openssl pkey -in server.key -outform DER -out key.der");
    sh("openssl pkcs12 -export -inkey server.key -in server.pem -passout pass: -out both.p12; gzip -c server.pem > cert.gz");
    sh("openssl crl2pkcs7 -nocrl -certfile server.pem -out chain.p7; openssl x509 -in server.pem -trustout -out trusted.pem");
    sh("openssl pkey -in server.key -aes256 -passout pass:a -out locked.key; iconv -f UTF-8 -t UTF-16 server.pem > utf16.pem");
    sh("openssl pkcs8 -topk8 -in server.key -passout pass:a -outform DER -out locked.der; gzip -c server.key > key.gz");
    sh("openssl crl2pkcs7 -nocrl -certfile server.pem -outform DER -out chain.p7b; cat server.key server.key > two.key");
    for (given, instead_of, words) in [
        ("server.key", "server.pem", "is a PRIVATE key"),
        ("cert.der", "server.pem", "is a certificate in DER"),
        ("both.p12", "server.pem", "is a PKCS#12 file"),
        ("chain.p7", "server.pem", "is a PKCS#7 file"),
        ("chain.p7b", "server.pem", "is a PKCS#7 file in DER"),
        ("trusted.pem", "server.pem", "is a certificate under an old label"),
        ("cert.gz", "server.pem", "is a compressed file"),
        ("utf16.pem", "server.pem", "is text in UTF-16"),
        ("server.key", "ca.pem", "is a PRIVATE key"),
        ("cert.der", "ca.pem", "is a certificate in DER"),
        ("server.pem", "server.key", "is a certificate"),
        ("key.der", "server.key", "is a PRIVATE key in DER"),
        ("both.p12", "server.key", "is a PKCS#12 file"),
        ("locked.key", "server.key", "is an encrypted PRIVATE key"),
        ("locked.der", "server.key", "is an encrypted PRIVATE key in DER"),
        ("key.gz", "server.key", "is a compressed file"),
        ("two.key", "server.key", "contains 2 PRIVATE keys"),
        ("server.pem", "crl.pem", "is a certificate; expected a revocation list"),
        ("server.key", "crl.pem", "is a PRIVATE key; expected a revocation list"),
    ] {
        let content = fs::read(pki.path(given)).unwrap();
        fs::write(pki.path(instead_of), content).unwrap();
        fs::set_permissions(pki.path(instead_of), fs::Permissions::from_mode(0o600)).unwrap();
        let fault = Material::read(&pki.files(), None).err().unwrap_or_else(|| panic!("{given} as {instead_of} was taken"));
        assert!(fault.what.contains(words) && fault.what.contains(instead_of), "{given} as {instead_of}: {fault}");
        assert_eq!(fault.kind, std::io::ErrorKind::InvalidData, "{given}");
        let hint = fault.hint.expect("a hint");
        let is_converted = !matches!((given, instead_of), ("server.key" | "server.pem", _));
        // Applies the hint: the station then has the file that it needs.
        if is_converted {
            let command = hint.split('`').nth(1).unwrap_or_else(|| panic!("no command in {hint:?}"));
            let command = command
                .replace("openssl pkcs12", "openssl pkcs12 -passin pass:")
                .replace("openssl pkey", "openssl pkey -passin pass:a");
            sh("rm -f cert.pem key.pem");
            sh(&command);
            let made = pki.path(if pki.path("cert.pem").exists() { "cert.pem" } else { "key.pem" });
            fs::rename(made, pki.path(instead_of)).unwrap();
            let is_chain_of_others = instead_of == "ca.pem";
            let read = Material::read(&pki.files(), None);
            assert!(read.is_ok() || is_chain_of_others, "{given} as {instead_of}, {command}: {:?}", read.err());
        }
        let _ = fs::remove_file(pki.path("crl.pem"));
        for (name, bytes) in &good {
            fs::write(pki.path(name), bytes).unwrap();
        }
        fs::set_permissions(pki.path("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    }
    Identity::load(&pki.files(), None).unwrap();
    let mut files = pki.files();
    files.cert = pki.path("absent.pem");
    assert_eq!(Material::read(&files, None).err().map(|fault| fault.kind), Some(std::io::ErrorKind::NotFound));
    files.cert = pki.directory.path().to_owned();
    assert_eq!(Material::read(&files, None).err().map(|fault| fault.kind), Some(std::io::ErrorKind::IsADirectory));
    pki.put("server.key", &String::from_utf8(good[1].1.clone()).unwrap(), 0o644);
    assert_eq!(Material::read(&pki.files(), None).err().map(|fault| fault.kind), Some(std::io::ErrorKind::PermissionDenied));
}
