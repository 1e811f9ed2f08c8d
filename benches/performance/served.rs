//! The same operations through the service: so many callers on one connection, each asking again as soon as it is answered.

use std::{
    fs,
    time::{Duration, Instant},
};

use openssl::{md::Md, pkey::PKey, pkey_ctx::PkeyCtx, rsa::Padding};
use stationmaster_proto as pb;
use stationmaster_proto::key_service_client::KeyServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::{
    bare::{self, Operation},
    process::Cpu,
    record::Rate,
    support::{self, Station},
};

/// Ways to the service.
pub const WAYS: [&str; 2] = ["unix", "mtls"];

/// The way to a service whose token has a process of its own, over the Unix socket.
pub const ISOLATED: &str = "isolated";

/// A connection to a station.
pub fn connect(station: &Station, way: &str) -> Channel {
    if way == "unix" {
        return station.unix();
    }
    let pem = |name: &str| fs::read(station.state().join("pki").join(name)).expect("a PEM file");
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pem("ca.pem")))
        .identity(Identity::from_pem(pem("client.pem"), pem("client.key")));
    let endpoint = Endpoint::from_shared(station.env()["STATIONMASTER_TCP"].clone()).expect("an address");
    let endpoint = endpoint.tcp_nodelay(true).tls_config(tls).expect("TLS");
    support::block_on(endpoint.connect()).expect("a connection")
}

/// One operation, ready to be asked for.
#[derive(Clone)]
pub struct Request {
    operation: Operation,
    key: String,
    wrapped: Vec<u8>,
}

impl Request {
    /// With a key of the station.
    pub fn new(station: &Station, key: &str, operation: Operation) -> Self {
        let public = station.key(key).expect("the key").public_key_pem;
        let public = PKey::public_key_from_pem(public.as_bytes()).expect("a public key");
        let wrap = || {
            let mut context = PkeyCtx::new(&public)?;
            context.encrypt_init()?;
            context.set_rsa_padding(Padding::PKCS1_OAEP)?;
            context.set_rsa_oaep_md(Md::sha512())?;
            context.set_rsa_mgf1_md(Md::sha512())?;
            let mut wrapped = Vec::new();
            context.encrypt_to_vec(&[9; 32], &mut wrapped)?;
            Ok::<_, openssl::error::ErrorStack>(wrapped)
        };
        Self { operation, key: key.into(), wrapped: wrap().expect("a wrapped key") }
    }

    async fn ask(&self, client: &mut KeyServiceClient<Channel>) {
        let key_label = self.key.clone();
        match self.operation {
            Operation::Sign => {
                let scheme = pb::SignatureScheme::RsaPssSha512.into();
                let asked = pb::SignRequest { key_label, scheme, digest: vec![0x5a; 64], ..pb::SignRequest::default() };
                client.sign(asked).await.expect("a signature");
            }
            Operation::Unwrap => {
                let scheme = pb::WrappingScheme::RsaOaepSha512.into();
                let asked = pb::UnwrapKeyRequest { key_label, scheme, wrapped_key: self.wrapped.clone() };
                client.unwrap_key(asked).await.expect("a key");
            }
        }
    }
}

/// Asks for so long with so many callers; the processor time is that of the service and of its token's process.
pub fn measure(station: &Station, channel: &Channel, request: &Request, callers: usize, seconds: f64) -> Rate {
    ask(channel, request, callers, seconds / 8.0);
    let cpu = || Cpu::of_process_and_children(station.pid()).expect("the service");
    let (begun, before) = (Instant::now(), cpu());
    let mut latencies = ask(channel, request, callers, seconds);
    bare::rate(&mut latencies, begun.elapsed().as_secs_f64(), cpu().since(before))
}

fn ask(channel: &Channel, request: &Request, callers: usize, seconds: f64) -> Vec<f64> {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let all: Vec<_> = (0..callers)
        .map(|_| {
            let (request, mut client) = (request.clone(), KeyServiceClient::new(channel.clone()));
            support::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let started = Instant::now();
                    request.ask(&mut client).await;
                    latencies.push(started.elapsed().as_secs_f64() * 1e3);
                }
                latencies
            })
        })
        .collect();
    all.into_iter().flat_map(|one| support::block_on(one).expect("a caller")).collect()
}
