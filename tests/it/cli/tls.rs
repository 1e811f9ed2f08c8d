//! What a client is told when a certificate is refused: whose, why, and that nothing was done.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Usage, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::said;
use crate::{
    access::principals::{Authority, grant, listen},
    support::{PROGRAM, Station, set, token::softhsm, wait_for},
};

const NAME: &str = "airflow.hospital.example";

struct Client<'a> {
    directory: &'a Path,
    address: &'a str,
}

impl Client<'_> {
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn ask(&self, address: &str, ca: &str, cert: &str, key: &str) -> Output {
        let (ca, cert, key) = (self.put("ca.pem", ca), self.put("client.pem", cert), self.put("client.key", key));
        let mut command = Command::new(PROGRAM);
        command
            .args(["key", "list", "--address", address, "--tls-ca"])
            .arg(ca)
            .arg("--tls-cert")
            .arg(cert)
            .arg("--tls-key")
            .arg(key);
        command.output().unwrap()
    }

    /// Refused each time, and with the same words: what is told does not depend on which bytes come first.
    #[track_caller]
    fn refused(&self, ca: &str, (cert, key): &(String, String), cause: &str) {
        for _ in 0..3 {
            let done = self.ask(self.address, ca, cert, key);
            let text = said(&done);
            assert_eq!(done.status.code(), Some(7), "{cause}: {text}");
            assert!(text.contains(cause) && text.contains("client.pem") && text.contains("nothing was done"), "{cause}: {text}");
            assert!(text.contains("\nhint: "), "{text}");
        }
    }
}

#[test]
fn a_client_receives_why_its_certificate_was_refused_and_that_nothing_was_done() {
    let (authority, other) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let mut address = String::new();
    let station = Station::with("a").start_configured(|config| {
        let state = PathBuf::from(config["state"]["directory"].as_str().unwrap());
        address = listen(&state, &authority, config);
    });
    grant(&station, &[(&format!("dns:{NAME}"), &["ListKeys"], Some(&["*"]))]);
    let client = Client { directory: directory.path(), address: &address };
    let dns = || SanType::DnsName(NAME.try_into().unwrap());
    let ca = authority.pem();
    let good = authority.sign(dns(), Usage::ClientAuth, -1..1);
    assert!(client.ask(&address, &ca, &good.0, &good.1).status.success());

    client.refused(&ca, &authority.sign(dns(), Usage::ClientAuth, -9..-1), "it expired on ");
    client.refused(&ca, &authority.sign(dns(), Usage::ClientAuth, 1..9), "it is valid only from ");
    client.refused(&ca, &authority.sign(dns(), Usage::ServerAuth, -1..1), "its extendedKeyUsage lacks clientAuth");
    client.refused(&ca, &other.sign(dns(), Usage::ClientAuth, -1..1), "it is not signed by the CA of that name");

    // Without the intermediate authority's certificate, and with it.
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(rcgen::DnType::CommonName, "an intermediate authority");
    let intermediate = authority.issue(params, KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![dns()];
    params.extended_key_usages = vec![Usage::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &intermediate).unwrap();
    client.refused(&ca, &(leaf.pem(), key.serialize_pem()), "the service has no chain from its issuer (CN=an intermediate authority) to a trusted CA, and the file contains no certificate of an intermediate CA");
    assert!(client.ask(&address, &ca, &(leaf.pem() + &intermediate.pem()), &key.serialize_pem()).status.success());

    // Ours to mend before anything is sent.
    for (cert, key, exit, words) in [
        (&good.0, &other.sign(dns(), Usage::ClientAuth, -1..1).1, 2, "is not the private key of the certificate in"),
        (&good.1, &good.1, 2, "client.pem is a PRIVATE key; expected certificates in PEM"),
        (&good.0, &good.0, 2, "client.key is a certificate; expected a private key in PEM"),
    ] {
        let done = client.ask(&address, &ca, cert, key);
        assert_eq!(done.status.code(), Some(exit), "{}", said(&done));
        assert!(said(&done).contains(words), "{words}: {}", said(&done));
    }
    // The service's certificate, refused by us.
    let port = address.rsplit(':').next().unwrap();
    for (address, ca, words) in [
        (address.clone(), other.pem(), "the service's certificate is not signed by the CA in"),
        (format!("https://127.0.0.1:{port}"), ca.clone(), "the service's certificate is not for the name 127.0.0.1"),
    ] {
        let done = client.ask(&address, &ca, &good.0, &good.1);
        assert_eq!(done.status.code(), Some(6), "{}", said(&done));
        assert!(said(&done).contains(words), "{words}: {}", said(&done));
    }
}

#[test]
fn a_certificate_with_a_common_name_only_is_refused_with_the_reason() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let mut address = String::new();
    let station = Station::with("a").start_configured(|config| {
        let state = PathBuf::from(config["state"]["directory"].as_str().unwrap());
        address = listen(&state, &authority, config);
    });
    let client = Client { directory: directory.path(), address: &address };
    let email = rcgen::SanType::Rfc822Name("airflow@hospital.example".try_into().unwrap());
    for (names, words) in [
        (vec![], "the client certificate has no subjectAltName: a caller is identified by a DNS name"),
        (
            vec![email, rcgen::SanType::IpAddress([127, 0, 0, 1].into())],
            "has the subjectAltName email:airflow@hospital.example, IP:127.0.0.1 and no other",
        ),
    ] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name.push(rcgen::DnType::CommonName, NAME);
        params.extended_key_usages = vec![Usage::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = authority.certify(params, &key);
        let done = client.ask(&address, &authority.pem(), &cert, &key.serialize_pem());
        assert_eq!(done.status.code(), Some(7), "{}", said(&done));
        for words in [words, "common name is ignored", "a DNS name or URI as subjectAltName (docs/tls.md)"] {
            assert!(said(&done).contains(words), "{words}: {}", said(&done));
        }
        assert!(!said(&done).contains("access allow nobody"), "{}", said(&done));
    }
    drop(station);
}

const IN_TOKEN: &str = "The key in the token";

/// The commands of the sections of `docs/tls.md` that are wanted: those of its indented lines that begin with one of these words.
fn commands_of_the_page(is_wanted: impl Fn(&str) -> bool, begins: &[&str]) -> Vec<String> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tls.md")).unwrap();
    let sections = page.split("\n## ").filter(|section| is_wanted(section.lines().next().unwrap_or_default()));
    let mut blocks = vec![String::new()];
    for line in sections.flat_map(|section| section.lines().chain([""])) {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(command), Some(block)) => *block += &format!("{command}\n"),
            _ => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| begins.iter().any(|begin| block.starts_with(begin)));
    blocks
}

#[test]
fn the_page_about_tls_works_as_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let run = |commands: &str| {
        let commands = commands.replace("station-1.hospital.example", "localhost");
        let done = Command::new("sh").args(["-e", "-c", &commands]).current_dir(directory.path()).output().unwrap();
        assert!(done.status.success(), "{commands}: {}", said(&done));
    };
    let blocks = commands_of_the_page(|section| section != IN_TOKEN, &["umask", "openssl", "printf"]);
    let (last, before) = blocks.split_last().unwrap();
    before.iter().for_each(|block| run(&format!("umask 077\n{block}")));
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let station = Station::with("a").start_configured(|config| {
        let mut tcp = toml::Table::from_iter([("address".to_owned(), format!("127.0.0.1:{port}").into())]);
        for (key, name) in
            [("cert", "server.pem"), ("key", "server.key"), ("client_ca", "ca.pem"), ("client_crl", "client-crl.pem")]
        {
            tcp.insert(key.into(), file(name).into());
        }
        set(config, "listen", "tcp", tcp);
    });
    grant(&station, &[("dns:airflow.hospital.example", &["ListKeys"], Some(&["*"]))]);
    let ask = || {
        let mut command = Command::new(PROGRAM);
        command.args(["key", "list", "--address", &format!("https://localhost:{port}")]);
        command.args(["--tls-ca", &file("ca.pem"), "--tls-cert", &file("airflow.pem"), "--tls-key", &file("airflow.key")]);
        command.output().unwrap()
    };
    let done = ask();
    assert!(done.status.success(), "{}", said(&done));
    run(last);
    // One that is under way when the list comes is cut off.
    let refused = wait_for("the list to count", || Some(ask()).filter(|done| done.status.code() == Some(7)));
    assert!(said(&refused).contains("it was revoked; nothing was done"), "{}", said(&refused));
    // What it says of a certificate without extensions.
    run("openssl x509 -req -in airflow.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -out airflow.pem");
    let done = ask();
    assert_eq!(done.status.code(), Some(2), "{}", said(&done));
    assert!(said(&done).contains("airflow.pem is X.509 version 1, and TLS requires version 3"), "{}", said(&done));
}

#[test]
fn the_page_about_a_key_in_the_token_works_as_it_is_written() {
    let mut station = Station::start("a");
    station.stop();
    station.configure(|_| {});
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (config, pin, softhsm_conf) = (station.state().join("test.toml"), station.state().join("pin"), station.softhsm_conf());
    let run = |commands: &str| {
        let commands = commands
            .replace("/etc/stationmaster/stationmaster.toml", config.to_str().unwrap())
            .replace("/etc/stationmaster/pin", pin.to_str().unwrap())
            .replace("/usr/lib/softhsm/libsofthsm2.so", softhsm().to_str().unwrap())
            .replace("token=pht", "token=stationmaster-dev")
            .replace("station-1.hospital.example", "localhost");
        let path = Path::new(PROGRAM).parent().unwrap().display();
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", &format!("umask 077; PATH={path}:$PATH\n{commands}")]).current_dir(directory.path());
        let done = shell.env("SOFTHSM2_CONF", &softhsm_conf).output().unwrap();
        assert!(done.status.success(), "{commands}: {}", said(&done));
    };
    // The CA, a client, and the extensions of the server's certificate.
    commands_of_the_page(|section| section == "CA, service, clients", &["umask", "openssl"]).iter().for_each(|block| run(block));
    fs::remove_file(file("server.key")).unwrap();
    let blocks = commands_of_the_page(|section| section == IN_TOKEN, &["stationmaster", "openssl", "export"]);
    let [made, certified, requested] = &blocks[..] else { panic!("{blocks:?}") };
    run(made);
    let setting = commands_of_the_page(|section| section == IN_TOKEN, &["key = "]).pop().unwrap();
    let key = setting.parse::<toml::Table>().unwrap()["key"].clone();
    // The certificate of the public key, and the one of the request.
    for way in [certified, requested] {
        fs::remove_file(file("server.pem")).unwrap();
        run(way);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        station.configure(|config| {
            let mut tcp = toml::Table::from_iter([("address".to_owned(), format!("127.0.0.1:{port}").into())]);
            tcp.insert("key".into(), key.clone());
            for (key, name) in [("cert", "server.pem"), ("client_ca", "ca.pem")] {
                tcp.insert(key.into(), file(name).into());
            }
            set(config, "listen", "tcp", tcp);
        });
        station.start_again();
        grant(&station, &[("dns:airflow.hospital.example", &["ListKeys"], Some(&["*"]))]);
        let mut command = Command::new(PROGRAM);
        command.args(["key", "list", "--address", &format!("https://localhost:{port}")]);
        command.args(["--tls-ca", &file("ca.pem"), "--tls-cert", &file("airflow.pem"), "--tls-key", &file("airflow.key")]);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
        station.stop();
    }
}

#[test]
fn an_inaccessible_socket_is_reported_with_its_group() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let station = Station::start("a");
    fs::set_permissions(station.state(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut command = Command::new(PROGRAM);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    std::os::unix::process::CommandExt::gid(&mut command, 65534);
    command.arg("health").arg("--address").arg(format!("unix://{}", station.socket().display())).current_dir("/");
    let done = command.output().unwrap();
    assert_eq!(done.status.code(), Some(7), "{}", said(&done));
    for words in ["belongs to uid 0 (gid 0, mode 0660)", "uid 65534", "join group 0", "usermod -aG"] {
        assert!(said(&done).contains(words), "{words}: {}", said(&done));
    }
}
