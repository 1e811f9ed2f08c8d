//! The matrix: RPC × principal × way in × state of the service, made from the descriptor of the protos. An RPC without a row here
//! fails the test; one without a row in the service does not compile.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::FileDescriptorSet;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use stationmaster_proto as pb;
use tonic::{Code, transport::Channel};

use super::principals::{Authority, Granted, call, grant, listen, me, over_tls};
use crate::{
    audit::evidence::records,
    support::{
        Refusal, Station,
        proxy::{Do, EngineProxy, Way},
        set,
        token::TokenServer,
        wait_for,
    },
};

/// An image whose name the engine is asked for until the test lets it answer.
const HELD: &str = "held-by-the-test";

/// A request of each RPC that the service can look at, whether the RPC works on images, and whether it uses a key by itself.
struct Row {
    request: Vec<u8>,
    of_images: bool,
    uses_key: bool,
}

fn row(rpc: &str) -> Row {
    let image = || "stationmaster-test/none:latest".to_owned();
    let of = |request: Vec<u8>, of_images, uses_key| Row { request, of_images, uses_key };
    match rpc {
        "ListKeys" => of(pb::ListKeysRequest {}.encode_to_vec(), false, false),
        "GetKey" => of(pb::GetKeyRequest { label: "a-general".into() }.encode_to_vec(), false, false),
        "Sign" => {
            let scheme = pb::SignatureScheme::RsaPssSha256.into();
            of(
                pb::SignRequest { key_label: "a-general".into(), scheme, digest: vec![1; 32], ..pb::SignRequest::default() }
                    .encode_to_vec(),
                false,
                true,
            )
        }
        "UnwrapKey" => {
            let scheme = pb::WrappingScheme::RsaOaepSha256.into();
            of(
                pb::UnwrapKeyRequest { key_label: "a-general".into(), scheme, wrapped_key: vec![1; 256] }.encode_to_vec(),
                false,
                true,
            )
        }
        "HashImage" => of(pb::HashImageRequest { image: image(), train_only: true }.encode_to_vec(), true, false),
        "InspectTrain" => of(pb::InspectTrainRequest { image: image() }.encode_to_vec(), true, false),
        "PreRun" => of(pb::PreRunRequest { image: image(), ..Default::default() }.encode_to_vec(), true, false),
        "PostRun" => of(pb::PostRunRequest { run_id: "none".into(), ..Default::default() }.encode_to_vec(), true, false),
        "AbortRun" => of(pb::AbortRunRequest { run_id: "none".into() }.encode_to_vec(), true, false),
        "VerifyTrain" => {
            let part = Some(pb::verify_train_request::Part::Image(image()));
            of(pb::VerifyTrainRequest { part }.encode_to_vec(), true, false)
        }
        "ValidateImage" => of(pb::ValidateImageRequest { image: image(), ..Default::default() }.encode_to_vec(), true, false),
        "OpenResults" => {
            let part = Some(pb::open_results_request::Part::Image(image()));
            of(pb::OpenResultsRequest { part, ..Default::default() }.encode_to_vec(), true, false)
        }
        "CheckPush" => of(pb::CheckPushRequest { image: image() }.encode_to_vec(), true, false),
        "GetStatus" => of(pb::GetStatusRequest {}.encode_to_vec(), false, false),
        other => panic!("{other} has no row in the matrix: say what is to be expected of it"),
    }
}

/// Every RPC of the protos: its path and its name.
fn rpcs() -> BTreeMap<String, String> {
    let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    let mut found = BTreeMap::new();
    for file in set.file.iter().filter(|file| file.package() == "stationmaster.v1") {
        for service in &file.service {
            for method in &service.method {
                found.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()), method.name().to_owned());
            }
        }
    }
    found
}

const STATION: &[&str] =
    &["InspectTrain", "PreRun", "PostRun", "AbortRun", "VerifyTrain", "CheckPush", "HashImage", "ValidateImage", "GetStatus"];
const READER: &[&str] = &["InspectTrain", "VerifyTrain", "OpenResults"];
const AUDITOR: &[&str] = &["ListKeys", "GetKey", "InspectTrain", "VerifyTrain", "CheckPush", "ValidateImage", "GetStatus"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    NoCertificate,
    Expired,
    OtherAuthority,
    OtherUsage,
    /// Known, and granted nothing.
    WithoutGrant,
    Station,
    Reader,
    Auditor,
    Officer,
}

impl Who {
    fn may(self, rpc: &str) -> bool {
        match self {
            Self::Station => STATION.contains(&rpc),
            Self::Reader => READER.contains(&rpc),
            Self::Auditor => AUDITOR.contains(&rpc),
            Self::Officer => true,
            _ => false,
        }
    }

    fn gets_in(self) -> bool {
        !matches!(self, Self::NoCertificate | Self::Expired | Self::OtherAuthority | Self::OtherUsage)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    TokenDown,
    AuditDown,
    Draining,
}

/// Every client over TCP, and clients of the Unix socket with the grants of each of those.
struct Everybody {
    tls: Vec<(Who, Channel)>,
    unix: Channel,
}

impl Everybody {
    fn new(station: &Station, address: &str, authority: &Authority) -> Self {
        let uri = |name: &str| format!("spiffe://hospital.example/{name}");
        let san = || SanType::URI(uri("officer").as_str().try_into().unwrap());
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        let people = [
            (Who::NoCertificate, None),
            (Who::Expired, Some(authority.sign(san(), client.clone(), -3..-1))),
            (Who::OtherAuthority, Some(Authority::new().client(&uri("officer")))),
            (Who::OtherUsage, Some(authority.sign(san(), ExtendedKeyUsagePurpose::ServerAuth, -1..1))),
            (Who::WithoutGrant, Some(authority.client(&uri("without-grant")))),
            (Who::Station, Some(authority.client(&uri("station")))),
            (Who::Reader, Some(authority.client(&uri("reader")))),
            (Who::Auditor, Some(authority.client(&uri("auditor")))),
            (Who::Officer, Some(authority.client(&uri("officer")))),
        ];
        let tls = people.into_iter().map(|(who, identity)| (who, over_tls(address, authority, identity.as_ref()))).collect();
        Self { tls, unix: station.unix() }
    }

    /// Grants as the certificates' names have it, and to us on the socket what `on_the_socket` may.
    fn grant(station: &Station, on_the_socket: Who) {
        let every: Vec<String> = rpcs().into_values().collect();
        let every: Vec<&str> = every.iter().map(String::as_str).collect();
        let me = me();
        let mut grants: Vec<Granted<'_>> = vec![
            ("spiffe://hospital.example/station", STATION, None),
            ("spiffe://hospital.example/reader", READER, None),
            ("spiffe://hospital.example/auditor", AUDITOR, Some(&["*"])),
            ("spiffe://hospital.example/officer", &every, Some(&["*"])),
        ];
        match on_the_socket {
            Who::Station => grants.push((&me, STATION, None)),
            Who::Reader => grants.push((&me, READER, None)),
            Who::Auditor => grants.push((&me, AUDITOR, Some(&["*"]))),
            Who::Officer => grants.push((&me, &every, Some(&["*"]))),
            _ => {}
        }
        grant(station, &grants);
    }

    /// Calls every RPC as every client; returns the number of cells, and the deviations.
    fn call_all(&self, station: &Station, state: State) -> (usize, Vec<String>) {
        let mut cells = 0;
        let mut wrong = Vec::new();
        let mut ask = |way: &str, who: Who, channel: &Channel| {
            for (path, name) in rpcs() {
                let row = row(&name);
                let outcome = call(channel, &path, row.request.clone());
                cells += 1;
                if let Err(why) = judge(who, state, &name, &row, &outcome) {
                    wrong.push(format!("{name} by {who:?} over {way}, {state:?}: {why}: {outcome:?}"));
                }
            }
        };
        for (who, channel) in &self.tls {
            ask("mTLS", *who, channel);
        }
        for who in [Who::WithoutGrant, Who::Station, Who::Reader, Who::Auditor, Who::Officer] {
            Self::grant(station, who);
            ask("Unix", who, &self.unix);
        }
        (cells, wrong)
    }
}

/// Whether a call was answered as it should be.
fn judge(who: Who, state: State, rpc: &str, row: &Row, outcome: &Result<(), Refusal>) -> Result<(), &'static str> {
    let reason = outcome.as_ref().err().map_or("OK", |refusal| refusal.reason.as_str());
    if !who.gets_in() {
        // The handshake failed, or the connection was closed before anything was answered.
        let no_call = outcome.as_ref().is_err_and(|refusal| refusal.reason.is_empty());
        return if no_call { Ok(()) } else { Err("somebody got in") };
    }
    if state == State::Draining {
        // A connection may be told that it ends before a call is.
        let ended = outcome.as_ref().is_err_and(|refusal| refusal.code == Code::Unavailable && refusal.reason.is_empty());
        let expected = match who.may(rpc) {
            true if rpc == "GetStatus" => "OK",
            true => "SHUTTING_DOWN",
            false => "RPC_NOT_ALLOWED",
        };
        return if ended || reason == expected { Ok(()) } else { Err("a call while it drains") };
    }
    if !who.may(rpc) {
        return if reason == "RPC_NOT_ALLOWED" { Ok(()) } else { Err("not refused, or it tells more than that") };
    }
    let expected: &[&str] = match state {
        // Errors are reported nevertheless, as long as the grants did not change.
        State::AuditDown if rpc == "GetStatus" => &["OK", "AUDIT_UNAVAILABLE"],
        State::AuditDown => &["AUDIT_UNAVAILABLE"],
        State::Starting if row.of_images => &["NOT_READY", "ENGINE_UNAVAILABLE"],
        State::TokenDown if row.uses_key => &["HSM_UNAVAILABLE"],
        _ => match rpc {
            "ListKeys" | "GetKey" | "Sign" | "GetStatus" => &["OK"],
            "UnwrapKey" => &["UNWRAP_FAILED"],
            "PostRun" | "AbortRun" => &["RUN_NOT_FOUND"],
            _ => &["IMAGE_NOT_FOUND"],
        },
    };
    if expected.contains(&reason) { Ok(()) } else { Err("not as a caller who may should be answered") }
}

#[test]
fn every_rpc_is_for_its_granted_principals_only_on_every_transport_in_every_state() {
    let mut station = Station::start("a");
    station.stop();
    let authority = Authority::new();
    let (token, proxy) = (TokenServer::start(&station), EngineProxy::absent(station.state()));
    station.set_env("P11_KIT_SERVER_ADDRESS", Some(&token.address));
    let mut address = String::new();
    let state = station.state().to_owned();
    station.configure(|config| {
        set(config, "engine", "socket", proxy.address());
        set(config, "token", "module", TokenServer::client());
        set(config, "limits", "drain_s", 600);
        address = listen(&state, &authority, config);
    });
    Everybody::grant(&station, Who::Officer);
    station.spawn();
    wait_for("the keys", || station.keys().ok());
    let everybody = Everybody::new(&station, &address, &authority);

    let (mut cells, mut wrong) = (0, Vec::new());
    let mut all = |station: &Station, state: State| {
        let (number, found) = everybody.call_all(station, state);
        println!("{state:?}: {number} cells, {} wrong", found.len());
        cells += number;
        wrong.extend(found);
    };
    all(&station, State::Starting);

    proxy.restore();
    wait_for("SERVING", || (station.health().ok()? == "SERVING").then_some(()));
    all(&station, State::Ready);

    drop(token);
    wait_for("the token to be missed", || (station.health().ok()? == "NOT_SERVING").then_some(()));
    all(&station, State::TokenDown);
    let token = TokenServer::start(&station);
    wait_for("SERVING", || (station.health().ok()? == "SERVING").then_some(()));

    let (log, away) = (station.state().join("audit/service/00000001.jsonl"), station.state().join("away.jsonl"));
    std::fs::rename(&log, &away).unwrap();
    wait_for("the audit to be missed", || (station.health().ok()? == "NOT_SERVING").then_some(()));
    // A changed access file cannot be recorded either, and so does not count: the grants stay what they were.
    all(&station, State::AuditDown);
    std::fs::rename(&away, &log).unwrap();
    Everybody::grant(&station, Who::Officer);
    wait_for("SERVING", || (station.health().ok()? == "SERVING").then_some(()));

    // A call that waits for the engine keeps the service from ending.
    proxy.when(HELD, Way::ToEngine, 0, Do::Stall);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| station.inspect(&format!("stationmaster-test/{HELD}:latest")));
        proxy.struck();
        station.signal(rustix::process::Signal::TERM);
        wait_for("the drain", || (station.health().ok().as_deref() != Some("SERVING")).then_some(()));
        all(&station, State::Draining);
        assert!(!held.is_finished(), "the service has ended meanwhile");
        proxy.release();
        crate::support::tamper::refused("the call is finished", held.join().unwrap(), "IMAGE_NOT_FOUND");
    });
    assert!(station.wait().success(), "{}", station.log());
    drop(token);

    // A failed handshake is recorded, too.
    let counted = records(&station, &["--event", "refusals", "--principal", "nobody"]);
    assert!(
        counted.iter().any(|record| record["rpc"] == "handshake" && record["about"]["count"].as_u64() > Some(0)),
        "{counted:?}"
    );

    println!("matrix: {cells} cells, {} failures", wrong.len());
    assert_eq!(cells, rpcs().len() * (9 + 5) * 5);
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
}
