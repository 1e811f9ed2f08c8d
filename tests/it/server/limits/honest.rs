//! An honest client beside an attack, and the latency of its calls.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use stationmaster_proto as pb;
use stationmaster_proto::key_service_client::KeyServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::{RUNTIME, Station, block_on, wait_for};

/// A client of one transport.
pub struct Honest<'a> {
    station: &'a Station,
    tcp: bool,
}

impl<'a> Honest<'a> {
    /// Through the Unix socket, or over TCP.
    pub fn client(station: &'a Station, tcp: bool) -> Self {
        Self { station, tcp }
    }

    /// A new connection, made when it is used.
    pub fn connection(&self) -> Channel {
        if !self.tcp {
            return self.station.unix();
        }
        let read = |name: &str| fs::read(self.station.state().join("pki").join(name)).expect("a PEM file");
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.pem")))
            .identity(Identity::from_pem(read("client.pem"), read("client.key")));
        let endpoint =
            Endpoint::from_shared(crate::server::limits::attack::tcp_address(self.station)).unwrap().tls_config(tls).unwrap();
        let _entered = RUNTIME.enter();
        endpoint.connect_lazy()
    }

    /// Signs through a connection; how long it took.
    #[track_caller]
    pub fn sign(&self, connection: &Channel) -> Duration {
        let transport = if self.tcp { "TCP" } else { "the Unix socket" };
        self.try_to_sign(connection)
            .unwrap_or_else(|error| panic!("an honest call over {transport}: {error}\n{}", self.station.log()))
    }

    fn try_to_sign(&self, connection: &Channel) -> Result<Duration, tonic::Status> {
        let request = pb::SignRequest {
            key_label: format!("{}-general", self.station.id()),
            scheme: pb::SignatureScheme::RsaPssSha256.into(),
            digest: vec![7; 32],
            ..pb::SignRequest::default()
        };
        let begun = Instant::now();
        block_on(KeyServiceClient::new(connection.clone()).sign(request))?;
        Ok(begun.elapsed())
    }

    /// Signs on a new connection, and tries again where other connections crowd it out; how long all of it took.
    #[track_caller]
    pub fn sign_at_last(&self) -> Duration {
        let begun = Instant::now();
        wait_for("an honest connection to be let in", || self.try_to_sign(&self.connection()).ok());
        begun.elapsed()
    }
}

/// Calls again and again until it is over.
pub fn until(over: &AtomicBool, call: impl Fn() -> Duration) -> Vec<Duration> {
    let mut took = Vec::new();
    while !over.load(Ordering::Acquire) {
        took.push(call());
        std::thread::sleep(Duration::from_millis(10));
    }
    took
}
