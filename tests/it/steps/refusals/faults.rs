//! What goes away half-way: the engine, the token, the caller.

use stationmaster_proto as pb;
use stationmaster_proto::OpenInto;

use crate::support::{
    Station, Train, block_on,
    proxied::{Proxied, begin_pre_run, when_free},
    proxy::{Do, LOAD, READ, WRITE, Way},
    tamper::{Before, RESULTS, Scene, refused, run_script},
    token::TokenServer,
    wait_for,
};

// --- the engine ---

/// The engine goes in the middle of a pre-run and comes back.
#[track_caller]
fn pre_run_outlives_the_engine(marker: &'static str, way: Way, into: OpenInto) {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let before = Before::of(&scene.engine, &scene.train);
    proxied.proxy.when(marker, way, 1 << 20, Do::Cut);
    let pre_run = || scene.station.open_into(&scene.train.image, into);
    let gone = refused("the engine went", pre_run(), "ENGINE_UNAVAILABLE");
    assert_eq!((gone.code, gone.has_retry_info), (tonic::Code::Unavailable, true));
    proxied.proxy.struck();
    assert_eq!(scene.engine.find(&scene.train.image), Some(before.snapshot.id(&scene.train.image).to_owned()));
    proxied.healthy("NOT_SERVING");
    refused("while it is away", pre_run(), "ENGINE_UNAVAILABLE");

    proxied.proxy.restore();
    proxied.healthy("SERVING");
    let run = when_free(pre_run);
    scene.station.abort(&run.run_id).unwrap();
    proxied.as_it_was(&before);
    scene.still_works();
}

#[test]
fn an_engine_that_goes_while_a_train_is_read_leaves_it_as_it_was() {
    pre_run_outlives_the_engine(READ, Way::FromEngine, OpenInto::Image);
}

#[test]
fn an_engine_that_goes_while_a_train_is_opened_into_a_directory_leaves_it_as_it_was() {
    pre_run_outlives_the_engine(READ, Way::FromEngine, OpenInto::Directory);
}

#[test]
fn an_engine_that_goes_while_volumes_are_written_leaves_the_train_as_it_was() {
    pre_run_outlives_the_engine(WRITE, Way::ToEngine, OpenInto::Volume);
}

#[test]
fn an_engine_that_goes_while_a_train_is_written_leaves_it_as_it_was() {
    pre_run_outlives_the_engine(LOAD, Way::ToEngine, OpenInto::Image);
}

#[test]
fn an_engine_that_goes_during_post_run_leaves_the_run_open() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let run = scene.pre_run().unwrap();
    let ran = run_script(&scene.engine, &scene.train.image, RESULTS);
    for (marker, way) in [(READ, Way::FromEngine), (LOAD, Way::ToEngine)] {
        proxied.proxy.when(marker, way, 1 << 20, Do::Cut);
        refused("the engine went", scene.station.post_run(&run.run_id), "ENGINE_UNAVAILABLE");
        assert_eq!(scene.engine.find(&scene.train.image), Some(ran.clone()));
        proxied.healthy("NOT_SERVING");
        proxied.proxy.restore();
        proxied.healthy("SERVING");
    }
    let closed = when_free(|| scene.station.post_run(&run.run_id));
    assert!(closed.plaintext_held_by.is_empty(), "{closed:?}");
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
    wait_for("no container of ours", || {
        let instance = crate::support::tamper::instance(&scene.station);
        scene.engine.service_containers(Some(&instance)).is_empty().then_some(())
    });
}

// --- the token ---

#[test]
fn calls_are_refused_while_the_token_is_unavailable_and_served_when_it_is_back() {
    let mut station = Station::start("a");
    station.stop();
    let server = TokenServer::start(&station);
    station.set_env("SOFTHSM2_MODULE", Some(&TokenServer::client()));
    station.set_env("P11_KIT_SERVER_ADDRESS", Some(&server.address));
    station.start_again();
    let scene = Scene::with(station);
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let other = Train::of(&[scene.station.seat()]).make();

    drop(server);
    let (before, others) = (Before::of(&scene.engine, &scene.train), Before::of(&scene.engine, &other));
    let gone = refused("pre-run", scene.station.pre_run(&other.image), "HSM_UNAVAILABLE");
    assert_eq!((gone.code, gone.has_retry_info), (tonic::Code::Unavailable, true));
    refused("post-run", scene.station.post_run(&run.run_id), "HSM_UNAVAILABLE");
    let sign = |station: &Station| station.sign("a-general", pb::SignatureScheme::RsaPssSha256, &[7; 32]);
    refused("sign", sign(&scene.station), "HSM_UNAVAILABLE");
    before.assert(&scene.station, "post-run");
    others.assert(&scene.station, "pre-run");
    wait_for("NOT_SERVING", || (scene.station.health().ok()? == "NOT_SERVING").then_some(()));

    let _server = TokenServer::start(&scene.station);
    wait_for("SERVING", || (scene.station.health().ok()? == "SERVING").then_some(()));
    sign(&scene.station).unwrap();
    scene.station.pre_run(&other.image).unwrap();
    scene.station.post_run(&run.run_id).unwrap();
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
}

// --- the caller ---

/// The caller hangs up in the middle of a pre-run.
#[track_caller]
fn pre_run_outlives_its_caller(marker: &'static str, way: Way, into: OpenInto) {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let before = Before::of(&scene.engine, &scene.train);
    proxied.proxy.when(marker, way, 1 << 20, Do::Stall);
    let stream = begin_pre_run(scene, into, None);
    proxied.proxy.struck();
    assert!(before.holds(&scene.station).is_err(), "the call has not begun");
    drop(stream);
    // What stands still is let go only after the caller is: the cancel finds the step in the middle.
    wait_for("the cancel to be seen", || {
        scene.station.log().lines().any(|line| line.contains("PreRun") && line.contains("Cancelled")).then_some(())
    });
    proxied.proxy.release();
    proxied.as_it_was(&before);
    let run = when_free(|| scene.station.open_into(&scene.train.image, into));
    assert!(!run.repeated_answer);
}

#[test]
fn a_caller_that_hangs_up_while_a_train_is_read_leaves_it_as_it_was() {
    pre_run_outlives_its_caller(READ, Way::FromEngine, OpenInto::Image);
}

#[test]
fn a_caller_that_hangs_up_while_a_train_is_opened_into_a_directory_leaves_it_as_it_was() {
    pre_run_outlives_its_caller(READ, Way::FromEngine, OpenInto::Directory);
}

#[test]
fn a_caller_that_hangs_up_while_volumes_are_written_leaves_the_train_as_it_was() {
    pre_run_outlives_its_caller(WRITE, Way::ToEngine, OpenInto::Volume);
}

#[test]
fn a_caller_that_hangs_up_while_a_train_is_written_leaves_it_as_it_was() {
    pre_run_outlives_its_caller(LOAD, Way::ToEngine, OpenInto::Image);
}

#[test]
fn a_caller_that_hangs_up_during_post_run_leaves_the_run_open() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let before = Before::of(&scene.engine, &scene.train);
    proxied.proxy.when(READ, Way::FromEngine, 1 << 20, Do::Stall);
    let request = pb::PostRunRequest { run_id: run.run_id.clone(), ..Default::default() };
    let stream = block_on(scene.station.trains_client().post_run(request)).unwrap().into_inner();
    proxied.proxy.struck();
    drop(stream);
    proxied.as_it_was(&before);
    proxied.proxy.release();
    when_free(|| scene.station.post_run(&run.run_id));
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
}

#[test]
fn a_deadline_that_passes_ends_the_call_and_leaves_the_train_as_it_was() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let before = Before::of(&scene.engine, &scene.train);
    proxied.proxy.when(READ, Way::FromEngine, 1 << 20, Do::Stall);
    // Long enough for the step to come to where it stalls, also on a busy machine.
    let mut stream = begin_pre_run(scene, OpenInto::Image, Some("10S"));
    proxied.proxy.struck();
    let ended = block_on(async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the call ended well"),
                Err(status) => break status,
            }
        }
    });
    assert_eq!(ended.code(), tonic::Code::DeadlineExceeded, "{ended:?}");
    proxied.as_it_was(&before);
    proxied.proxy.release();
    let run = when_free(|| scene.pre_run());
    assert!(!run.repeated_answer);
}
