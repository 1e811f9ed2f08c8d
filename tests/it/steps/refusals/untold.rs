//! What a refusal tells of what is there: nothing, to a caller for certain trains only, and nothing of others' idempotency keys.

use stationmaster_proto::{PreRunRequest, train_service_client::TrainServiceClient};

use crate::{
    access::principals::{Authority, listen, me, over_tls},
    support::{
        Refusal, Station, Train, block_on, outcome,
        tamper::{Before, Scene, refused},
    },
};

const RPCS: [&str; 8] = ["PreRun", "PostRun", "AbortRun", "InspectTrain", "HashImage", "VerifyTrain", "CheckPush", "OpenResults"];

/// Grants this test these RPCs for one train.
fn only(station: &Station, train: &str) {
    let text = format!("version = 1\n[[grant]]\nprincipal = {:?}\nrpcs = {RPCS:?}\ntrains = [{train:?}]\n", me());
    std::fs::write(station.state().join("access.toml"), text).unwrap();
}

#[test]
fn a_caller_for_certain_trains_cannot_tell_what_is_missing_from_what_is_anothers() {
    let scene = Scene::set();
    let (station, foreign) = (&scene.station, scene.train.image.as_str());
    let run = scene.pre_run().unwrap();
    let repository = &scene.train.repository;
    // An image that is no train, one whose config cannot be read, a tag and a repository that are not there.
    let mut broken = scene.rootfs();
    broken.content(crate::support::tamper::CONFIG).truncate(20);
    broken.put(&scene.engine, repository, "broken");
    broken.remove("opt");
    broken.put(&scene.engine, repository, "none");
    let names = [
        foreign.to_owned(),
        run.image_id.clone(),
        format!("{repository}:broken"),
        format!("{repository}:none"),
        format!("{repository}:absent"),
        "stationmaster-test/nowhere:latest".to_owned(),
    ];
    only(station, "another-train");
    type Call<'a> = (&'a str, &'a dyn Fn(&str) -> Option<Refusal>);
    let calls: [Call<'_>; 6] = [
        ("inspect", &|image| station.inspect(image).err()),
        ("pre-run", &|image| station.pre_run(image).err()),
        ("hash", &|image| station.hash(image, true).err()),
        ("verify", &|image| station.verify(image).err()),
        ("check-push", &|image| station.check_push(image).err()),
        ("results", &|image| station.open_results(image, &[]).err()),
    ];
    let shown = |refusal: &Refusal| (refusal.code, refusal.reason.clone(), refusal.message.clone(), refusal.metadata.clone());
    for (what, call) in calls {
        let mut first = None;
        for name in names.iter().filter(|name| what != "pre-run" || !name.starts_with("sha256:")) {
            let refusal = call(name).unwrap_or_else(|| panic!("{what} of {name} is not refused"));
            assert_eq!(refusal.reason, "RPC_NOT_ALLOWED", "{what} of {name}");
            assert_eq!(
                shown(&refusal),
                *first.get_or_insert_with(|| shown(&refusal)),
                "{what}: {name} can be told from the others"
            );
        }
    }
    let there = refused("a run that is there", station.abort(&run.run_id), "RPC_NOT_ALLOWED");
    let not = refused("a run that is not", station.abort("none"), "RPC_NOT_ALLOWED");
    assert_eq!(shown(&there), shown(&not));
    // Administrators see the cause, and so does a caller with a grant for the train.
    let causes = crate::audit::evidence::records(station, &["--event", "refusal"]);
    assert!(
        causes.iter().any(|record| record["detail"].as_str().is_some_and(|detail| detail.contains("no image"))),
        "{causes:?}"
    );
    std::fs::write(
        station.state().join("access.toml"),
        format!("version = 1\n[[grant]]\nprincipal = {:?}\nrpcs = {RPCS:?}\n", me()),
    )
    .unwrap();
    refused("a tag that is not there", station.inspect(&names[4]), "IMAGE_NOT_FOUND");
    refused("no train", station.inspect(&names[3]), "CONFIG_MALFORMED");
}

#[test]
fn an_idempotency_key_is_its_principals_own() {
    let authority = Authority::new();
    let mut address = String::new();
    let mut station = Station::start("a");
    station.stop();
    let state = station.state().to_owned();
    station.configure(|config| address = listen(&state, &authority, config));
    let other = "spiffe://hospital.example/other";
    let grant = |principal: &str| {
        format!(
            "[[grant]]\nprincipal = {principal:?}\nrpcs = {RPCS:?}\n[[grant]]\nprincipal = {principal:?}\nrpcs = [\"GetKey\"]\nkeys = [\"*\"]\n"
        )
    };
    let text = format!("version = 1\n{}{}", grant(&me()), grant(other));
    std::fs::write(state.join("access.toml"), text).unwrap();
    station.start_again();
    let scene = Scene::with(station);
    let theirs = Train::of(&[scene.station.seat()]).make();
    let channel = over_tls(&address, &authority, Some(&authority.client(other)));
    let pre_run = |image: &str, key: &str| {
        let request = PreRunRequest { image: image.into(), idempotency_key: key.into(), ..Default::default() };
        block_on(async {
            let stream = TrainServiceClient::new(channel.clone()).pre_run(request).await?.into_inner();
            outcome(stream, |answer| match answer.event {
                Some(stationmaster_proto::pre_run_response::Event::Outcome(outcome)) => Some(outcome),
                _ => None,
            })
            .await
        })
    };
    // Another principal takes the next key of the orchestrator's, with a train of its own: neither is told of the other.
    let squatting = pre_run(&theirs.image, "train 4711, stop 1").unwrap();
    let run = scene.station.pre_run_as(&scene.train.image, "train 4711, stop 1").unwrap();
    assert!(!run.repeated_answer && run.run_id != squatting.run_id);
    assert_eq!(pre_run(&theirs.image, "train 4711, stop 1").unwrap().run_id, squatting.run_id, "the same call");
    let before = Before::of(&scene.engine, &theirs);
    // A key that another principal has used is as any other key.
    let used = refused("a used key", scene.station.pre_run_as(&theirs.image, "train 4711, stop 1"), "RUN_STATE");
    assert_eq!(used.metadata["run_id"], squatting.run_id);
    let unused = refused("an unused key", pre_run(&scene.train.image, "never used"), "RUN_STATE");
    pre_run(&theirs.image, "another").expect_err("the run that is open has another key");
    assert_eq!(unused.metadata["run_id"], run.run_id);
    before.assert(&scene.station, "calls with used keys");
}
