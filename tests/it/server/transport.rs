//! Health, the socket, mutual TLS, reflection, limits.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use stationmaster_proto as pb;
use tokio_stream::StreamExt;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::support::{Station, block_on, proxy::EngineProxy, tamper::refused, wait_for};

/// Health over TCP, as a client with these PEM files.
fn health_over_tls(station: &Station, ca: &Path, identity: Option<(&Path, &Path)>) -> Result<ServingStatus, String> {
    let read = |path: &Path| fs::read(path).expect("a PEM file");
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)));
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(read(certificate), read(key)));
    }
    let endpoint = Endpoint::from_shared(station.env()["STATIONMASTER_TCP"].clone()).unwrap().tls_config(tls).unwrap();
    block_on(async {
        let channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        answer.map(|answer| answer.into_inner().status()).map_err(|status| status.to_string())
    })
}

#[test]
fn it_serves_only_once_the_engine_responds_and_reports_that() {
    let mut station = Station::start("a");
    station.stop();
    let proxy = EngineProxy::absent(station.state());
    station.configure(|config| {
        config.insert("engine".into(), toml::Table::from_iter([("socket".to_owned(), proxy.address().into())]).into());
    });
    station.spawn();
    wait_for("the socket", || station.socket().exists().then_some(()));
    let of = |service: &str| {
        let request = HealthCheckRequest { service: service.into() };
        block_on(HealthClient::new(station.unix()).check(request)).map(|answer| answer.into_inner().status())
    };
    wait_for("the token to answer", || (of("stationmaster.v1.KeyService").ok()? == ServingStatus::Serving).then_some(()));
    for service in ["", "stationmaster.v1.TrainService", "stationmaster.v1.ImageService"] {
        assert_eq!(of(service).unwrap(), ServingStatus::NotServing, "{service:?} without an engine");
    }
    let early = station.pre_run("stationmaster-test/none:latest").unwrap_err();
    assert!(["NOT_READY", "ENGINE_UNAVAILABLE"].contains(&early.reason.as_str()), "{early:?}");
    station.sign("a-general", pb::SignatureScheme::RsaPssSha256, &[1; 32]).expect("keys need no engine");

    proxy.restore();
    wait_for("SERVING", || (of("").ok()? == ServingStatus::Serving).then_some(()));
    refused("after", station.pre_run("stationmaster-test/none:latest"), "IMAGE_NOT_FOUND");
}

#[test]
fn the_socket_is_for_its_owner_and_group_only() {
    let station = Station::start("a");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&station.socket()), 0o660);
    assert_eq!(mode(station.state()), 0o700);
    for secret in ["pin", "pki/server.key", "pki/client.key"] {
        assert_eq!(mode(&station.state().join(secret)), 0o600, "{secret}");
    }
}

#[test]
fn over_tcp_only_a_certificate_of_the_right_authority_gets_in() {
    let (station, other) = (Station::start("a"), Station::start("b"));
    let pki = |station: &Station, name: &str| station.state().join("pki").join(name);
    let (ca, certificate, key) = (pki(&station, "ca.pem"), pki(&station, "client.pem"), pki(&station, "client.key"));
    assert_eq!(health_over_tls(&station, &ca, Some((&certificate, &key))), Ok(ServingStatus::Serving));
    health_over_tls(&station, &ca, None).expect_err("no certificate");
    let (foreign, foreign_key) = (pki(&other, "client.pem"), pki(&other, "client.key"));
    health_over_tls(&station, &ca, Some((&foreign, &foreign_key))).expect_err("another authority's certificate");
    let (server, server_key) = (pki(&station, "server.pem"), pki(&station, "server.key"));
    health_over_tls(&station, &ca, Some((&server, &server_key))).expect_err("a certificate that is not for clients");
    health_over_tls(&station, &pki(&other, "ca.pem"), Some((&certificate, &key))).expect_err("a client that trusts another");
}

#[test]
fn it_speaks_tls_1_3_and_nothing_older() {
    let station = Station::start("a");
    let pki = station.state().join("pki");
    let address = station.env()["STATIONMASTER_TCP"].trim_start_matches("https://").to_owned();
    let spoken = |version: &str| {
        let output = std::process::Command::new("openssl")
            .args(["s_client", "-connect", &address, version, "-alpn", "h2"])
            .arg("-CAfile")
            .arg(pki.join("ca.pem"))
            .arg("-cert")
            .arg(pki.join("client.pem"))
            .arg("-key")
            .arg(pki.join("client.key"))
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl");
        String::from_utf8_lossy(&output.stdout).contains("Verify return code: 0")
            && String::from_utf8_lossy(&output.stdout).contains("Cipher is TLS_")
    };
    assert!(spoken("-tls1_3"));
    assert!(!spoken("-tls1_2"));
}

/// An authority, and what it signs for both ends, written over a station's own.
fn new_pki(directory: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    for (name, subject, usage) in [
        ("server", "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", "client.test", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(vec![subject.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        fs::write(directory.join(format!("{name}.pem")), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
}

#[test]
fn certificates_are_exchanged_while_it_runs() {
    let station = Station::start("a");
    let (pki, old) = (station.state().join("pki"), tempfile::tempdir().unwrap());
    for name in ["ca.pem", "client.pem", "client.key"] {
        fs::copy(pki.join(name), old.path().join(name)).unwrap();
    }
    let ask = |directory: &Path| {
        let identity = (directory.join("client.pem"), directory.join("client.key"));
        // Which authority the client trusts is not tested: the service's new certificate is of the new authority.
        health_over_tls(&station, &pki.join("ca.pem"), Some((&identity.0, &identity.1)))
    };
    assert_eq!(ask(old.path()), Ok(ServingStatus::Serving));
    let pid = station.pid();
    new_pki(&pki);
    station.signal(rustix::process::Signal::HUP);
    wait_for("the new certificates", || ask(&pki).is_ok().then_some(()));
    ask(old.path()).expect_err("the old authority's client");

    // What cannot be used is not taken up.
    let log = station.log().len();
    fs::write(pki.join("server.pem"), "no certificate").unwrap();
    station.signal(rustix::process::Signal::HUP);
    wait_for("a word about it", || station.log()[log..].contains("the previous ones stay in use").then_some(()));
    assert_eq!(ask(&pki), Ok(ServingStatus::Serving));
    assert_eq!(station.pid(), pid);
}

#[test]
fn reflection_lists_the_three_services() {
    let station = Station::start("a");
    let request =
        ServerReflectionRequest { host: String::new(), message_request: Some(MessageRequest::ListServices(String::new())) };
    let answer = block_on(async {
        let asked = ServerReflectionClient::new(station.unix()).server_reflection_info(tokio_stream::once(request)).await;
        asked.expect("reflection").into_inner().next().await.expect("an answer").expect("an answer")
    });
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in ["KeyService", "ImageService", "TrainService"] {
        assert!(names.contains(&format!("stationmaster.v1.{service}")), "{names:?}");
    }
    for other in ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"] {
        assert!(names.contains(&other.to_owned()), "{names:?}");
    }
}

#[test]
fn a_request_larger_than_the_limit_is_refused_and_the_next_call_works() {
    let station = Station::start("a");
    let refusal = refused("65 KiB", station.pre_run(&"a".repeat(65 << 10)), "LIMIT_EXCEEDED");
    assert_eq!((refusal.code, refusal.metadata["limit"].as_str()), (tonic::Code::ResourceExhausted, "request_bytes"));
    refused("a digest", station.sign("a-general", pb::SignatureScheme::RsaPssSha256, &vec![0; 65 << 10]), "LIMIT_EXCEEDED");
    station.sign("a-general", pb::SignatureScheme::RsaPssSha256, &[0; 32]).unwrap();
}
