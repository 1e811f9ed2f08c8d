//! Who is admitted over TCP, and that a change of it counts: authorities, certificates, revocation lists.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams};
use serde_json::Value;
use stationmaster_proto::{ListKeysRequest, key_service_client::KeyServiceClient};
use tonic::transport::Channel;
use x509_parser::pem::parse_x509_pem;

use crate::{
    access::principals::{Authority, grant, listen, me, over_tls},
    audit::evidence::records,
    cli::said,
    support::{Station, block_on, set, wait_for},
};

const URI: &str = "spiffe://hospital.example/airflow";

/// A station that listens for the clients of an authority, one of which may list keys.
fn station(authority: &Authority, change: impl FnOnce(&mut toml::Table)) -> (Station, String) {
    let mut address = String::new();
    let station = Station::with("a").start_configured(|config| {
        let state = PathBuf::from(config["state"]["directory"].as_str().unwrap());
        address = listen(&state, authority, config);
        change(config);
    });
    grant(&station, &[(&me(), &["ListKeys"], Some(&["*"])), (URI, &["ListKeys"], Some(&["*"]))]);
    (station, address)
}

fn asks(channel: &Channel) -> bool {
    block_on(KeyServiceClient::new(channel.clone()).list_keys(ListKeysRequest {})).is_ok()
}

/// A stream that stays open as long as its connection does: who watches health.
async fn watch(channel: Channel) -> tonic::Streaming<tonic_health::pb::HealthCheckResponse> {
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let mut stream = client.watch(tonic_health::pb::HealthCheckRequest::default()).await.expect("a stream").into_inner();
    stream.message().await.expect("the first status");
    stream
}

/// Put into place whole, as an administrator does.
fn replace(file: &Path, text: &str) {
    fs::write(file.with_extension("aside"), text).unwrap();
    fs::rename(file.with_extension("aside"), file).unwrap();
}

fn serial(pem: &str) -> Vec<u8> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
    pem.parse_x509().unwrap().raw_serial().to_vec()
}

/// A list of an authority that ends in so many seconds.
fn list(authority: &Authority, revoked: &[&str], ends_in: i64) -> String {
    let at = |seconds: i64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        SystemTime::UNIX_EPOCH + Duration::from_secs(now.checked_add_signed(seconds).unwrap())
    };
    let revoked_certs = revoked.iter().map(|pem| RevokedCertParams {
        serial_number: serial(pem).into(),
        revocation_time: at(-60).into(),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: at(-86_400).into(),
        next_update: at(ends_in).into(),
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked_certs.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    authority.crl(&params)
}

#[test]
fn a_changed_authority_is_in_the_audit_before_it_counts_and_ends_what_it_does_not_admit() {
    let (first, second) = (Authority::new(), Authority::new());
    let (mut station, address) = station(&first, |_| {});
    let (old, new) = (first.client(URI), second.client(URI));
    // The service's own certificate stays of the first authority.
    let as_new = || over_tls(&address, &first, Some(&new));
    let standing = over_tls(&address, &first, Some(&old));
    assert!(asks(&standing) && !asks(&as_new()));
    let mut watched = block_on(watch(standing.clone()));

    let ca = station.state().join("tcp/ca.pem");
    replace(&ca, &second.pem());
    wait_for("the new authority's client", || asks(&as_new()).then_some(()));
    // Nothing more is asked over it: it is ended from the service's side.
    let ended = block_on(async move { tokio::time::timeout(crate::support::PATIENCE, watched.message()).await });
    assert!(!matches!(ended.expect("the standing connection goes on"), Ok(Some(_))));
    assert!(!asks(&standing), "the removed authority's client");

    // One that breaks the rule is not taken; what was in force stays.
    let log = station.log().len();
    replace(&ca, &first.pem());
    fs::set_permissions(&ca, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    station.signal(rustix::process::Signal::HUP);
    wait_for("a word about it", || station.log()[log..].contains("ca.pem is writable by all users (mode 0666)").then_some(()));
    assert!(asks(&as_new()) && !asks(&over_tls(&address, &first, Some(&old))));
    station.stop();

    let changes = records(&station, &["--event", "tls-changed"]);
    let digest = |text: String| const_hex::encode(openssl::sha::sha256(text.as_bytes()));
    let recorded: Vec<_> = changes.iter().map(|record| record["about"]["client_ca"].as_str().unwrap().to_owned()).collect();
    // The first is of the development station that made the token.
    assert_eq!(recorded[1..], [digest(first.pem()), digest(second.pem())], "at the start, and once for the change");
    let print = |pem: String| const_hex::encode(openssl::sha::sha256(&parse_x509_pem(pem.as_bytes()).unwrap().1.contents));
    assert_eq!(changes[2]["about"]["authorities"], Value::from(vec![print(second.pem())]));
    assert_eq!(changes[2]["about"]["certificate"].as_str().map(str::len), Some(64));
}

#[test]
fn a_revoked_certificate_is_not_admitted_and_the_connection_that_it_has_is_ended() {
    let authority = Authority::new();
    let (kept, revoked) = (authority.client(URI), authority.client(URI));
    let file = tempfile::tempdir().unwrap();
    let crl = file.path().join("crl.pem");
    replace(&crl, &list(&authority, &[], 3600));
    let (station, address) = station(&authority, |config| {
        let tcp = config["listen"].as_table_mut().unwrap()["tcp"].as_table_mut().unwrap();
        tcp.insert("client_crl".into(), crl.to_str().unwrap().into());
    });
    let (one, other) = (over_tls(&address, &authority, Some(&kept)), over_tls(&address, &authority, Some(&revoked)));
    assert!(asks(&one) && asks(&other));
    let (mut of_one, mut of_other) = (block_on(watch(one.clone())), block_on(watch(other.clone())));
    replace(&crl, &list(&authority, &[&revoked.0], 3600));
    let ended = block_on(async { tokio::time::timeout(crate::support::PATIENCE, of_other.message()).await });
    assert!(!matches!(ended.expect("the standing connection goes on"), Ok(Some(_))));
    assert!(!asks(&other) && asks(&one), "only the revoked one is refused");
    let still = block_on(async { tokio::time::timeout(Duration::from_millis(10), of_one.message()).await });
    assert!(still.is_err(), "the other's connection was ended, too: {still:?}");

    // A list that has ended does not take the place of one that holds.
    let log = station.log().len();
    replace(&crl, &list(&authority, &[], -60));
    wait_for("a word about it", || station.log()[log..].contains("crl.pem expired on ").then_some(()));
    assert!(!asks(&over_tls(&address, &authority, Some(&revoked))), "an old list was put back");
    // And one that expires while it is in force admits no client any more.
    replace(&crl, &list(&authority, &[], 8));
    wait_for("the list that ends soon", || asks(&over_tls(&address, &authority, Some(&revoked))).then_some(()));
    wait_for("its end", || (!asks(&over_tls(&address, &authority, Some(&kept)))).then_some(()));
    assert!(station.keys().is_ok(), "the Unix socket has no part in it");
}

#[test]
fn an_expired_server_certificate_is_logged() {
    let authority = Authority::new();
    let mut station = Station::start("a");
    station.stop();
    station.configure(|config| {
        let state = PathBuf::from(config["state"]["directory"].as_str().unwrap());
        listen(&state, &authority, config);
        let localhost = rcgen::SanType::DnsName("localhost".try_into().unwrap());
        let (certificate, key) = authority.sign(localhost, rcgen::ExtendedKeyUsagePurpose::ServerAuth, -9..-1);
        fs::write(state.join("tcp/server.pem"), certificate).unwrap();
        fs::write(state.join("tcp/server.key"), key).unwrap();
        set(config, "log", "format", "json");
    });
    station.spawn();
    // Calls over the Unix socket go on.
    wait_for("the keys to be served", || {
        let asked = station.socket_command(&["health", "--service", "stationmaster.v1.KeyService"]).output().unwrap();
        asked.status.success().then_some(())
    });
    assert!(station.log().contains("server.pem expired on "), "{}", station.log());
    let failed = station.socket_command(&["health"]).output().unwrap();
    assert!(failed.status.code() == Some(6) && said(&failed).contains("clients refuse it"), "{}", said(&failed));
}
