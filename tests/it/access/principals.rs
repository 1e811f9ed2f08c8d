//! A principal by its certificate, or by its user on the Unix socket.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::{Refusal, Station, block_on, set};

/// An authority, and what it signed.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, in PEM.
    pub fn sign(&self, name: SanType, usage: ExtendedKeyUsagePurpose, days: std::ops::Range<i64>) -> (String, String) {
        let now = std::time::SystemTime::now();
        let at = |days: i64| {
            let away = std::time::Duration::from_secs(days.unsigned_abs() * 86_400);
            if days < 0 { now - away } else { now + away }
        };
        self.sign_between(name, usage, at(days.start)..at(days.end))
    }

    fn sign_between(
        &self,
        name: SanType,
        usage: ExtendedKeyUsagePurpose,
        times: std::ops::Range<std::time::SystemTime>,
    ) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        (params.not_before, params.not_after) = (times.start.into(), times.end.into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A client's certificate that ends soon.
    pub fn client_for(&self, uri: &str, time: std::time::Duration) -> (String, String) {
        let now = std::time::SystemTime::now();
        let times = now - std::time::Duration::from_secs(60)..now + time;
        self.sign_between(SanType::URI(uri.try_into().unwrap()), ExtendedKeyUsagePurpose::ClientAuth, times)
    }

    /// A certificate as `params` describe it, in PEM.
    pub fn certify(&self, params: CertificateParams, key: &impl rcgen::PublicKeyData) -> String {
        params.signed_by(key, &self.0).unwrap().pem()
    }

    /// An authority below this one.
    pub fn issue(&self, params: CertificateParams, key: KeyPair) -> CertifiedIssuer<'static, KeyPair> {
        CertifiedIssuer::signed_by(params, key, &self.0).unwrap()
    }

    /// A revocation list, in PEM.
    pub fn crl(&self, params: &rcgen::CertificateRevocationListParams) -> String {
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// A client's certificate that is as it should be.
    pub fn client(&self, uri: &str) -> (String, String) {
        self.sign(SanType::URI(uri.try_into().unwrap()), ExtendedKeyUsagePurpose::ClientAuth, -1..1)
    }
}

/// Has a station listen on TCP, for clients of an authority. Answers the address.
pub fn listen(state: &Path, authority: &Authority, config: &mut toml::Table) -> String {
    // A port of this moment: another process hardly takes it in between; if one does, the test fails at its start.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let localhost = SanType::DnsName("localhost".try_into().unwrap());
    let (certificate, key) = authority.sign(localhost, ExtendedKeyUsagePurpose::ServerAuth, -1..1);
    let directory = state.join("tcp");
    fs::create_dir_all(&directory).unwrap();
    let mut tcp = toml::Table::new();
    tcp.insert("address".into(), format!("127.0.0.1:{port}").into());
    for (name, file, text) in
        [("cert", "server.pem", certificate), ("key", "server.key", key), ("client_ca", "ca.pem", authority.pem())]
    {
        let path = directory.join(file);
        fs::write(&path, text).unwrap();
        if name == "key" {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        tcp.insert(name.into(), path.to_str().unwrap().into());
    }
    set(config, "listen", "tcp", tcp);
    format!("https://localhost:{port}")
}

/// A connection as a principal. Nothing is sent yet.
pub fn over_tls(address: &str, authority: &Authority, identity: Option<&(String, String)>) -> Channel {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()));
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(address.to_owned()).unwrap().tls_config(tls).unwrap();
    block_on(async move { endpoint.connect_lazy() })
}

/// To whom, which RPCs, and which keys.
pub type Granted<'a> = (&'a str, &'a [&'a str], Option<&'a [&'a str]>);

/// Writes the access file of a station.
pub fn grant(station: &Station, grants: &[Granted<'_>]) {
    let grant = |(principal, rpcs, keys): &Granted<'_>| {
        let keys = keys.map(|keys| format!("keys = {keys:?}\n")).unwrap_or_default();
        format!("[[grant]]\nprincipal = {principal:?}\nrpcs = {rpcs:?}\n{keys}")
    };
    let text = "version = 1\n".to_owned() + &grants.iter().map(grant).collect::<String>();
    replace(&station.state().join("access.toml"), &text);
}

fn replace(file: &Path, text: &str) {
    let aside = file.with_extension("aside");
    fs::write(&aside, text).unwrap();
    fs::rename(aside, file).unwrap();
}

/// Us, on the Unix socket.
pub fn me() -> String {
    format!("unix:uid={}", rustix::process::geteuid().as_raw())
}

/// Calls any RPC with an encoded message; the answer's content is not looked at.
pub fn call(channel: &Channel, path: &str, message: Vec<u8>) -> Result<(), Refusal> {
    let (channel, path) = (channel.clone(), path.parse().unwrap());
    let outcome: Result<(), tonic::Status> = block_on(async move {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|error| tonic::Status::unavailable(format!("transport: {error:?}")))?;
        let request = tonic::Request::new(tokio_stream::iter([Bytes(message)]));
        let mut answers = client.streaming(request, path, Raw).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    });
    outcome.map_err(Refusal::from)
}

/// A message as its bytes.
#[derive(Debug)]
struct Bytes(Vec<u8>);

#[derive(Clone, Copy)]
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), tonic::Status> {
        bytes::BufMut::put_slice(buffer, &item.0);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(Bytes(bytes::Buf::copy_to_bytes(buffer, length).to_vec())))
    }
}
