//! Tests of the whole server with a development PKI and without a token: admission of clients, health, shutdown.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    service::Routes,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::pki;
use crate::{
    audit,
    authz::Access,
    config::{Limits, Listen, Tcp},
    server::{Addresses, Authorizer, Manager, Probes, ServerError, ServerParts, Shutdown, health, run},
    service::refusals::Refusals,
};

struct Running {
    directory: tempfile::TempDir,
    engine: Arc<AtomicBool>,
    shutdown: Shutdown,
    tcp: SocketAddr,
    ended: JoinHandle<Result<(), ServerError>>,
}

async fn start(limits: Limits) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let files = pki::ensure(&directory.path().join("pki"), "s").unwrap();
    let engine = Arc::new(AtomicBool::new(true));
    let answers = engine.clone();
    let probes = Probes::default().with("engine", health::OF_IMAGES, health::Schedule::Periodic, move || {
        let answers = answers.load(Ordering::SeqCst);
        async move { answers.then_some(()).ok_or("gone") }
    });
    let listen = Listen {
        unix: Some(directory.path().join("api.sock")),
        unix_mode: 0o600,
        unix_group: None,
        reflection: false,
        tcp: Some(Tcp {
            address: "127.0.0.1:0".parse().unwrap(),
            cert: files.server_cert,
            key: files.server_key.into(),
            client_ca: files.ca,
            client_crl: None,
        }),
    };
    let shutdown = Shutdown::default();
    let audit = audit::Settings {
        directory: directory.path().join("audit"),
        log: "service",
        segment_bytes: 1 << 20,
        reserve_bytes: 0,
        archive: None,
        second: None,
        remembered: None,
        remember: None,
    };
    let (audit, _) = audit::Audit::open(audit).unwrap();
    let refusals = Arc::new(Refusals::new(audit.clone(), limits.principal_refusals_per_min));
    let authorizer = Authorizer::new(Access::new(&directory.path().join("access.toml")), audit, refusals, &limits);
    let (services, manager, authorizer) = (Routes::default(), Manager::default(), Arc::new(authorizer));
    let outside =
        ServerParts { services, probes, manager, listen, tls_key: None, limits, authorizer, shutdown: shutdown.clone() };
    let (tell, told) = oneshot::channel();
    let ended = tokio::spawn(run(outside, move |addresses: &Addresses| drop(tell.send(addresses.clone()))));
    let tcp = told.await.unwrap().tcp.unwrap();
    Running { directory, engine, shutdown, tcp, ended }
}

fn tls(pki: &Path, with_certificate: bool) -> ClientTlsConfig {
    let read = |name: &str| fs::read(pki.join(name)).unwrap();
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("ca.pem")));
    if with_certificate { config.identity(Identity::from_pem(read("client.pem"), read("client.key"))) } else { config }
}

impl Running {
    async fn over_tls(&self, with_certificate: bool) -> Result<ServingStatus, String> {
        let tls = tls(&self.directory.path().join("pki"), with_certificate);
        let endpoint = Endpoint::from_shared(format!("https://{}", self.tcp)).unwrap().tls_config(tls).unwrap();
        ask(endpoint.connect().await.map_err(|error| error.to_string())?).await
    }

    async fn over_unix(&self) -> Result<ServingStatus, String> {
        let address = format!("unix:{}", self.directory.path().join("api.sock").display());
        ask(Endpoint::from_shared(address).unwrap().connect().await.map_err(|error| error.to_string())?).await
    }
}

async fn ask(channel: Channel) -> Result<ServingStatus, String> {
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_in_with_a_certificate_and_health_follows_the_engine() {
    let running = start(Limits::default()).await;
    assert_eq!(running.over_unix().await, Ok(ServingStatus::Serving));
    assert_eq!(running.over_tls(true).await, Ok(ServingStatus::Serving));
    assert!(running.over_tls(false).await.is_err());

    running.engine.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(running.over_unix().await, Ok(ServingStatus::NotServing));

    running.shutdown.draining.cancel();
    running.ended.await.unwrap().unwrap();
    assert!(!running.directory.path().join("api.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_certificates_are_taken_up_and_broken_ones_are_not() {
    let running = start(Limits::default()).await;
    let pki = running.directory.path().join("pki");
    let certificate = fs::read(pki.join("server.pem")).unwrap();
    fs::write(pki.join("server.pem"), "not a certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(running.over_tls(true).await, Ok(ServingStatus::Serving));
    fs::write(pki.join("server.pem"), certificate).unwrap();

    fs::remove_file(pki.join("until")).unwrap();
    pki::ensure(&pki, "s").unwrap();
    // The new authority is not the old one's: only a service that took the new files up believes the new client.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(running.over_tls(true).await, Ok(ServingStatus::Serving));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_health_gives_way_to_others_and_does_not_hold_up_the_end() {
    let running = start(Limits { connections: 1, drain_s: 3600, ..Limits::default() }).await;
    let address = format!("unix:{}", running.directory.path().join("api.sock").display());
    let watching = async || {
        let channel = Endpoint::from_shared(address.clone()).unwrap().connect().await.unwrap();
        let mut watch = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert!(watch.message().await.unwrap().is_some());
        watch
    };
    let mut watch = watching().await;
    running.over_unix().await.expect("there is one place, and who only watches gives way");
    while let Ok(Some(_)) = watch.message().await {}

    let mut watch = watching().await;
    running.shutdown.draining.cancel();
    tokio::time::timeout(Duration::from_secs(60), running.ended).await.expect("the grace is an hour").unwrap().unwrap();
    // NOT_SERVING may still come; then the connection is gone.
    while let Ok(Some(_)) = watch.message().await {}
}
