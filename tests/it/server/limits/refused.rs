//! What a refused call leaves behind: a record and a line in the log up to a rate, then a count; and of none more than a bound.

use stationmaster_proto as pb;
use stationmaster_proto::SignatureScheme;

use crate::{
    access::principals::{Authority, call, grant, listen, me, over_tls},
    audit::evidence::records,
    support::{Station, block_on, set, tamper::refused},
};

const SIGN: &str = "/stationmaster.v1.KeyService/Sign";

/// Bytes of the service's audit.
fn audit_bytes(station: &Station) -> u64 {
    let directory = station.state().join("audit/service");
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// All refusals that the audit knows of, with a record each and counted, by RPC and reason.
#[track_caller]
fn accounted(station: &Station, rpc: &str, reason: &str) -> (u64, u64) {
    let own = records(station, &["--event", "refusal"]);
    let own = own.iter().filter(|record| record["rpc"] == rpc && record["outcome"] == reason).count();
    let counted = records(station, &["--event", "refusals"]);
    let counted = counted.iter().filter_map(|record| record["about"]["counts"][rpc][reason].as_u64()).sum();
    (own as u64, counted)
}

#[test]
fn refusals_of_every_kind_have_a_record_each_up_to_a_rate_and_then_are_counted() {
    const CALLS: u64 = 300;
    let mut station = Station::start("a");
    // Each with a grant, and each refused for another cause by another part of the service.
    let every = &["GetKey", "Sign", "AbortRun", "InspectTrain", "VerifyTrain"];
    grant(&station, &[(&me(), every, Some(&["a-general"]))]);
    let (audit, log) = (audit_bytes(&station), station.log().len() as u64);
    let channel = station.unix();
    for _ in 0..CALLS {
        refused("a key", station.key("b-general"), "KEY_NOT_ALLOWED");
        refused("not granted", call(&channel, "/stationmaster.v1.KeyService/ListKeys", Vec::new()), "RPC_NOT_ALLOWED");
        refused("undecodable", call(&channel, SIGN, vec![0xff; 40]), "MALFORMED_REQUEST");
        refused("no image", station.inspect("stationmaster-test/none:latest"), "IMAGE_NOT_FOUND");
        refused("no run", station.abort(&"x".repeat(8000)), "RUN_NOT_FOUND");
    }
    station.stop();
    let mut recorded = 0;
    for (rpc, reason) in [
        ("GetKey", "KEY_NOT_ALLOWED"),
        ("ListKeys", "RPC_NOT_ALLOWED"),
        ("Sign", "MALFORMED_REQUEST"),
        ("InspectTrain", "IMAGE_NOT_FOUND"),
        ("AbortRun", "RUN_NOT_FOUND"),
    ] {
        let (own, counted) = accounted(&station, rpc, reason);
        assert_eq!(own + counted, CALLS, "{rpc}, {reason}: {own} with a record, {counted} counted");
        recorded += own;
    }
    assert!(recorded >= 60, "a principal's first refusals have a record each: {recorded}");
    let (audit, log) = (audit_bytes(&station) - audit, station.log().len() as u64 - log);
    eprintln!("limits: a refused call leaves {} bytes of audit, {} of log", audit / (5 * CALLS), log / (5 * CALLS));
    assert!(audit / (5 * CALLS) < 60 && log / (5 * CALLS) < 60, "{audit} bytes of audit, {log} of log");
}

#[test]
fn what_cannot_be_decoded_or_is_too_large_has_a_record() {
    let station = Station::start("a");
    let channel = station.unix();
    let open_results = "/stationmaster.v1.TrainService/OpenResults";
    for (what, path, message, reason) in [
        ("garbage", SIGN, vec![0xff; 40], "MALFORMED_REQUEST"),
        ("too large", SIGN, vec![0; 100 << 10], "LIMIT_EXCEEDED"),
        ("a garbage first message", open_results, vec![0xff; 40], "MALFORMED_REQUEST"),
        ("a first message too large", open_results, vec![0; 100 << 10], "LIMIT_EXCEEDED"),
    ] {
        refused(what, call(&channel, path, message), reason);
        let last = records(&station, &["--event", "refusal"]).pop().unwrap_or_else(|| panic!("{what}: no record"));
        let rpc = path.rsplit('/').next().unwrap();
        assert_eq!((&last["outcome"], &last["rpc"], &last["principal"]), (&reason.into(), &rpc.into(), &me().into()), "{what}");
    }
    // The second message of a stream, too.
    let first = pb::OpenResultsRequest { part: Some(pb::open_results_request::Part::Archive(vec![0; 10])), paths: vec![] };
    let second = pb::OpenResultsRequest { part: Some(pb::open_results_request::Part::Image("x".into())), paths: vec![] };
    let outcome = block_on(async {
        let mut stream = station.trains_client().open_results(tokio_stream::iter([first, second])).await?.into_inner();
        while stream.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    });
    refused("a name for a piece", outcome.map_err(Into::into), "MALFORMED_REQUEST");
    assert_eq!(records(&station, &["--event", "refusal"]).len(), 5);
}

#[test]
fn a_caller_without_a_grant_chooses_no_byte_of_the_log_and_receives_its_own_name() {
    let authority = Authority::new();
    let mut address = String::new();
    let station = Station::with("a").start_configured(|config| {
        let state = std::path::PathBuf::from(config["state"]["directory"].as_str().unwrap());
        address = listen(&state, &authority, config);
        set(config, "limits", "principal_refusals_per_min", 10);
    });
    let name = "spiffe://hospital.example/unknown";
    let channel = over_tls(&address, &authority, Some(&authority.client(name)));
    let (log, audit) = (station.log().len(), audit_bytes(&station));
    for at in 0..200 {
        let refusal =
            refused("no grant", call(&channel, &format!("/{}{at}", "PATH".repeat(3000)), Vec::new()), "RPC_NOT_ALLOWED");
        assert!(refusal.message.contains(name) && refusal.metadata["principal"] == name, "{refusal:?}");
    }
    let said = station.log()[log..].to_owned();
    assert!(!said.contains("PATHPATH"), "the path is in the log");
    assert!(said.len() < 200 * 60, "{} bytes of log", said.len());
    assert!(audit_bytes(&station) - audit < 200 * 60, "{} bytes of audit", audit_bytes(&station) - audit);
    // The first ones are said, with who it was and the call that the audit has a record of.
    let line = said.lines().find(|line| line.contains("stationmaster::rpc")).expect("a line about the first");
    let record = &records(&station, &["--principal", name])[0];
    assert!(
        line.contains(name) && line.contains("unknown") && line.contains(record["call"].as_str().unwrap()),
        "{line}\n{record}"
    );
    // A call that is let in is said in the same way.
    station.sign("a-general", SignatureScheme::RsaPssSha256, &[1; 32]).unwrap();
    let call = records(&station, &["--event", "key-use", "--principal", &me()])[0]["call"].as_str().unwrap().to_owned();
    let of_call = |line: &&str| line.contains(&call) && line.contains(SIGN) && line.contains(&me());
    crate::support::wait_for("the call's line", || station.log().lines().find(of_call).map(drop));
}
