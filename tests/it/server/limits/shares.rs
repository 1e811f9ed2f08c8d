//! What one principal may have of a pool: never its last place, and nothing for longer than it is permitted.

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};
use stationmaster_proto as pb;
use stationmaster_proto::{open_results_request::Part, train_service_client::TrainServiceClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{
    access::principals::{Authority, Granted, call, grant, listen, me, over_tls},
    audit::evidence::records,
    support::{
        Refusal, Station, block_on,
        proxied::Proxied,
        proxy::{Do, READ, Way},
        set,
        tamper::{Before, refused},
        wait_for,
    },
};

const OTHER: &str = "spiffe://hospital.example/other";

fn state(config: &toml::Table) -> std::path::PathBuf {
    config["state"]["directory"].as_str().unwrap().into()
}

/// An upload that is begun and not gone on with: its end, whenever that comes.
async fn begin_upload(channel: Channel) -> (Result<(), Refusal>, mpsc::Sender<pb::OpenResultsRequest>) {
    let (sender, receiver) = mpsc::channel(4);
    let first = pb::OpenResultsRequest { part: Some(Part::Archive(vec![0; 100])), paths: Vec::new() };
    sender.send(first).await.unwrap();
    let ended = async {
        let mut stream = TrainServiceClient::new(channel).open_results(ReceiverStream::new(receiver)).await?.into_inner();
        while stream.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    (ended.await.map_err(Refusal::from), sender)
}

#[test]
fn slow_uploads_take_no_place_of_a_step_and_end_with_their_grant_and_with_the_service() {
    let authority = Authority::new();
    let mut address = String::new();
    let mut station = Station::with("a").start_configured(|config| {
        address = listen(&state(config), &authority, config);
        // Longer than any test: what ends at SIGTERM does not end because its grace is over.
        set(config, "limits", "drain_s", 3600);
        set(config, "limits", "uploads", 4);
    });
    let me = me();
    let all = ["OpenResults", "PreRun", "VerifyTrain"];
    let mine: Granted<'_> = (&me, &all, None);
    let others: Granted<'_> = (OTHER, &all, None);
    grant(&station, &[mine, others]);
    let channel = over_tls(&address, &authority, Some(&authority.client(OTHER)));
    let (sender, mut ended) = mpsc::unbounded_channel();
    crate::support::RUNTIME.spawn({
        let channel = channel.clone();
        async move {
            let mut uploads: FuturesUnordered<_> = (0..6).map(|_| begin_upload(channel.clone())).collect();
            while let Some((outcome, _)) = uploads.next().await {
                let _ = sender.send(outcome);
            }
        }
    });
    // Three of the four places, and never the last.
    for _ in 0..3 {
        refused("more than its share", block_on(ended.recv()).unwrap(), "OVERLOADED");
    }
    refused("a step of the same principal", pre_run(&channel), "IMAGE_NOT_FOUND");
    refused("a step of mine", station.pre_run("stationmaster-test/none:latest"), "IMAGE_NOT_FOUND");
    refused("an upload of mine", station.open_results_of(vec![Part::Archive(vec![1; 2000])], &[]), "ARCHIVE_MALFORMED");
    assert!(ended.try_recv().is_err(), "an upload ended too early");

    grant(&station, &[mine]);
    for _ in 0..3 {
        refused("the grant was taken back", block_on(ended.recv()).unwrap(), "RPC_NOT_ALLOWED");
    }
    let refusals = records(&station, &["--event", "refusal", "--principal", OTHER]);
    assert_eq!(refusals.iter().filter(|record| record["outcome"] == "RPC_NOT_ALLOWED").count(), 3, "{refusals:?}");

    // As many as there may be: that one more is refused shows that they have begun.
    let (sender, mut ended) = mpsc::unbounded_channel();
    for _ in 0..4 {
        let (upload, sender) = (begin_upload(station.unix()), sender.clone());
        crate::support::RUNTIME.spawn(async move { sender.send(upload.await.0) });
    }
    refused("more than my share", block_on(ended.recv()).unwrap(), "OVERLOADED");
    station.signal(rustix::process::Signal::TERM);
    for _ in 0..3 {
        refused("the service ends", block_on(ended.recv()).unwrap(), "SHUTTING_DOWN");
    }
    assert!(station.wait().success());
}

fn pre_run(channel: &Channel) -> Result<(), Refusal> {
    let request = pb::PreRunRequest { image: "stationmaster-test/none:latest".into(), ..Default::default() };
    call(channel, "/stationmaster.v1.TrainService/PreRun", prost::Message::encode_to_vec(&request))
}

#[test]
fn one_principal_never_has_the_last_place_for_a_step() {
    let authority = Authority::new();
    let mut address = String::new();
    let proxied = Proxied::configured(|config| {
        address = listen(&state(config), &authority, config);
        set(config, "limits", "runs", 2);
    });
    grant(&proxied.scene.station, &[(&me(), &["PreRun"], None), (OTHER, &["PreRun"], None)]);
    let channel = over_tls(&address, &authority, Some(&authority.client(OTHER)));
    proxied.proxy.when(READ, Way::FromEngine, 1 << 20, Do::Stall);
    let scene = &proxied.scene;
    std::thread::scope(|scope| {
        let held = scope.spawn(|| scene.pre_run());
        proxied.proxy.struck();
        let full = refused("a second step", scene.station.pre_run("stationmaster-test/none:latest"), "OVERLOADED");
        assert!(full.has_retry_info);
        refused("a step of another", pre_run(&channel), "IMAGE_NOT_FOUND");
        proxied.proxy.release();
        held.join().unwrap().unwrap();
    });
}

#[test]
fn a_step_whose_grant_is_taken_back_while_it_runs_is_ended_and_undone() {
    let proxied = Proxied::start();
    let before = Before::of(&proxied.scene.engine, &proxied.scene.train);
    let scene = &proxied.scene;
    let train = scene.station.inspect(&scene.train.image).unwrap().train_id;
    let of_trains = |trains: &[&str]| {
        let text = format!(
            "version = 1\n[[grant]]\nprincipal = {:?}\nrpcs = [\"PreRun\", \"Sign\"]\nkeys = [\"*\"]\npurposes = [\"general\", \"train\"]\n\
             trains = {trains:?}\n",
            me()
        );
        let aside = scene.station.state().join("access.aside");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, scene.station.state().join("access.toml")).unwrap();
    };
    of_trains(&[&train, "another-train"]);
    proxied.proxy.when(READ, Way::FromEngine, 1 << 20, Do::Stall);
    let refusal = std::thread::scope(|scope| {
        let call = scope.spawn(|| scene.pre_run());
        proxied.proxy.struck();
        // What still covers the train does not end it.
        of_trains(&[&train]);
        std::thread::sleep(Duration::from_millis(2500));
        assert!(!call.is_finished(), "it ended while its train was granted");
        of_trains(&["another-train"]);
        call.join().unwrap()
    });
    let refusal = refused("the train is not granted any more", refusal, "RPC_NOT_ALLOWED");
    assert_eq!(refusal.metadata["principal"], me());
    proxied.proxy.release();
    grant(&scene.station, &[(&me(), &["PreRun", "Sign", "InspectTrain", "AbortRun", "PostRun"], Some(&["*"]))]);
    proxied.as_it_was(&before);
    wait_for("the record of its end", || {
        let refusals = records(&scene.station, &["--event", "refusal"]);
        refusals.iter().find(|record| record["rpc"] == "PreRun" && record["outcome"] == "RPC_NOT_ALLOWED").map(drop)
    });
}

#[test]
fn a_call_ends_with_the_certificate_of_its_caller() {
    let authority = Authority::new();
    let mut address = String::new();
    let station = Station::with("a").start_configured(|config| address = listen(&state(config), &authority, config));
    grant(&station, &[(OTHER, &["OpenResults"], None)]);
    let soon = authority.client_for(OTHER, Duration::from_secs(4));
    let (outcome, _held) = block_on(begin_upload(over_tls(&address, &authority, Some(&soon))));
    refused("its certificate has ended", outcome, "RPC_NOT_ALLOWED");
}

#[test]
fn connections_of_one_principal_leave_room_for_others_and_idle_ones_give_way() {
    let authority = Authority::new();
    let mut address = String::new();
    let station = Station::with("a").start_configured(|config| {
        address = listen(&state(config), &authority, config);
        set(config, "limits", "connections", 8);
        set(config, "limits", "silence_s", 3600);
    });
    grant(&station, &[(OTHER, &["ListKeys"], Some(&["*"])), (&me(), &["ListKeys"], Some(&["*"]))]);
    let asks_health = |identity: &(String, String)| {
        let channel = over_tls(&address, &authority, Some(identity));
        let mut client = tonic_health::pb::health_client::HealthClient::new(channel.clone());
        let answer = block_on(client.check(tonic_health::pb::HealthCheckRequest::default()));
        (channel, answer.map(drop).map_err(Refusal::from))
    };
    let list = |channel: &Channel| call(channel, "/stationmaster.v1.KeyService/ListKeys", Vec::new());
    // Nothing is granted to this one: health is all that it can have, and that holds no place against anybody.
    let unknown = authority.client("spiffe://hospital.example/unknown");
    let held: Vec<_> = (0..20).map(|_| asks_health(&unknown)).collect();
    assert!(held.iter().all(|(_, answer)| answer.is_ok()), "its own idle connections give way to it");
    let other = authority.client(OTHER);
    let honest: Vec<_> = (0..3).map(|_| over_tls(&address, &authority, Some(&other))).collect();
    for channel in &honest {
        list(channel).expect("a place in the share of unknown callers");
    }
    // And those that were of use stay, however often the unknown caller connects.
    let _more: Vec<_> = (0..20).map(|_| asks_health(&unknown)).collect();
    let log = station.log();
    for channel in &honest {
        list(channel).expect("the connection stands");
    }
    assert!(!log.contains("none can be evicted"), "somebody was turned away:\n{log}");
}
