//! What a station gives of a train, and when.

use std::time::Duration;

use stationmaster_proto as pb;
use stationmaster_proto::{open_results_request::Part, open_results_response::Event};

use crate::{
    audit::evidence::records,
    support::{
        Station, block_on,
        skopeo_layouts::skopeo,
        tamper::{Before, Scene, fetched, refused, run_script, saved},
        wait_for,
    },
};

/// Much more than waits on the way to a caller who does not read.
const LARGE: usize = 12 << 20;

#[test]
fn no_results_are_given_before_the_first_stop_nor_of_a_train_that_is_not_trusted() {
    let scene = Scene::with(Station::with("a").start_pinned());
    let image = scene.train.image.as_str();
    let before = Before::of(&scene.engine, &scene.train);
    refused("an unknown creator's", scene.station.open_results(image, &[]), "KEY_UNTRUSTED");
    assert!(records(&scene.station, &["--event", "key-use"]).iter().all(|record| record["rpc"] != "OpenResults"));
    scene.station.trust_train(&scene.train);
    let (files, outcome) = scene.station.open_results(image, &[]).unwrap();
    assert_eq!((files.len(), outcome.stops_signed, outcome.results_digest.len()), (0, 0, 0));
    let out = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let into = ["-o", out.path().to_str().unwrap()];
        let done = scene.station.socket_command(&[&["train", "results", image], &into[..], arguments].concat()).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", crate::cli::said(&done));
        crate::cli::said(&done)
    };
    let told = command(&[]);
    assert!(told.contains("no stop of the train's route has run yet"), "{told}");
    for path in ["../x", "/x", "a//b", ""] {
        refused(path, scene.station.open_results(image, &[path]), "MALFORMED_REQUEST");
    }
    before.assert(&scene.station, "reading changes nothing");

    // A finished train may be read any number of times: this is no replay, and no run.
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, image, &format!("head -c {LARGE} /dev/urandom > /opt/pht_results/large"));
    scene.station.post_run(&run.run_id).unwrap();
    for _ in 0..2 {
        let (files, outcome) = scene.station.open_results(image, &["large"]).unwrap();
        assert_eq!((files["large"].len(), outcome.bytes, outcome.files), (LARGE, LARGE as u64, 1));
    }
    let told = command(&["--path", "small"]);
    assert!(told.contains("none of the train's 1 result files"), "{told}");
    refused("run again", scene.pre_run(), "TRAIN_REPLAYED");

    // A caller that stops reading gets no more, and the audit records how much it got.
    let memory = scene.station.memory_kib("VmRSS");
    let request = pb::OpenResultsRequest { part: Some(Part::Image(image.into())), paths: Vec::new() };
    block_on(async {
        let mut stream = scene.station.trains_client().open_results(tokio_stream::once(request)).await.unwrap().into_inner();
        while !matches!(stream.message().await.unwrap().unwrap().event, Some(Event::Chunk(_))) {}
        tokio::time::sleep(Duration::from_millis(300)).await;
    });
    assert!(scene.station.memory_kib("VmRSS") < memory + 6 * 1024, "the rest waits in memory");
    let refusal = wait_for("the end of the call", || {
        records(&scene.station, &["--event", "refusal"]).pop().filter(|record| record["outcome"] == "CANCELLED")
    });
    assert_eq!((&refusal["rpc"], &refusal["about"]["files"]), (&"OpenResults".into(), &0.into()));
    let given = refusal["about"]["bytes"].as_u64().unwrap();
    assert!(given > 0 && given < LARGE as u64 / 2, "{given} bytes");
}

#[test]
fn an_uploaded_train_is_read_as_one_in_the_engine_under_the_same_grants() {
    let scene = Scene::set();
    let image = scene.train.image.as_str();
    let run = scene.pre_run().unwrap();
    run_script(
        &scene.engine,
        image,
        "echo PLAINTEXT-CANARY-RESULT > /opt/pht_results/a; head -c 300000 /dev/urandom > /opt/pht_results/b",
    );
    scene.station.post_run(&run.run_id).unwrap();
    let (expected, told) = scene.station.open_results(image, &[]).unwrap();
    let opt = fetched(&scene.engine, image, "/opt");
    let (files, outcome) = scene.station.open_results_in(&opt, &[]).unwrap();
    assert_eq!((&files, &outcome.results_digest, outcome.image_id.as_str()), (&expected, &told.results_digest, ""));
    assert_eq!(scene.station.open_results_in(&opt, &["a"]).unwrap().0.len(), 1);
    let sent = records(&scene.station, &["--event", "results-given"]).pop().unwrap();
    assert_eq!(sent["about"]["archive_sha256"], const_hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&opt)));

    let at = opt.len() / 2;
    let mut changed = opt.clone();
    changed[at] ^= 1;
    refused("a changed byte", scene.station.open_results_in(&changed, &[]), "TRAIN_AUTHENTICATION_FAILED");
    refused("half of it", scene.station.open_results_in(&opt[..at], &[]), "ARCHIVE_MALFORMED");
    refused("nothing", scene.station.open_results_of(vec![], &[]), "MALFORMED_REQUEST");
    let two = vec![Part::Image(image.into()), Part::Image(image.into())];
    refused("two images", scene.station.open_results_of(two, &[]), "MALFORMED_REQUEST");
    let mixed = vec![Part::Archive(opt[..1000].to_vec()), Part::Image(image.into())];
    refused("a name for a piece", scene.station.open_results_of(mixed, &[]), "MALFORMED_REQUEST");

    // By the command, wherever the file lies.
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("opt.tar"), &opt).unwrap();
    std::fs::write(at("saved.tar"), saved(image)).unwrap();
    skopeo(&format!("docker-archive:{}", at("saved.tar")), &format!("oci:{}:t", at("layout")), &[]);
    skopeo(&format!("oci:{}:t", at("layout")), &format!("oci-archive:{}", at("oci.tar")), &[]);
    for train in ["opt.tar", "saved.tar", "layout", "layout:t", "oci.tar"] {
        let out = at(&format!("of-{train}"));
        let done = scene.station.client_command(&["train", "results", &at(train), "-o", &out]).output().unwrap();
        assert!(done.status.success(), "{train}: {}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(crate::steps::results::written(std::path::Path::new(&out)), expected, "{train}");
    }
    std::fs::write(at("cut.tar"), &opt[..opt.len() / 3]).unwrap();
    let done = scene.station.client_command(&["train", "results", &at("cut.tar"), "-o", &at("cut")]).output().unwrap();
    assert!(!done.status.success() && !directory.path().join("cut").exists(), "{}", String::from_utf8_lossy(&done.stderr));
}
