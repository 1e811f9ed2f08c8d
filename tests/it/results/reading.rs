//! What a station gives of a train, and when.

use std::time::Duration;

use stationmaster::pb::{self, open_results_response::Event};

use crate::{
    audit::evidence::records,
    support::{
        Station, block_on,
        tamper::{Before, Scene, refused, run_script},
        wait_for,
    },
};

/// Much more than waits on the way to a caller who does not read.
const LARGE: usize = 12 << 20;

#[test]
fn nothing_is_given_before_the_first_stop_nor_of_a_train_that_is_not_believed() {
    let scene = Scene::with(Station::with("a").start_pinned());
    let image = scene.train.image.as_str();
    let before = Before::of(&scene.engine, &scene.train);
    refused("a stranger's", scene.station.open_results(image, &[]), "KEY_UNTRUSTED");
    assert!(records(&scene.station, &["--event", "key-use"]).iter().all(|record| record["rpc"] != "OpenResults"));
    scene.station.believe(&scene.train);
    let (files, outcome) = scene.station.open_results(image, &[]).unwrap();
    assert_eq!((files.len(), outcome.stops_signed, outcome.results_digest.len()), (0, 0, 0));
    for path in ["../x", "/x", "a//b", ""] {
        refused(path, scene.station.open_results(image, &[path]), "MALFORMED_REQUEST");
    }
    before.assert(&scene.station, "reading changes nothing");

    // Whoever has a finished train may read it again and again: no replay, and no run.
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, image, &format!("head -c {LARGE} /dev/urandom > /opt/pht_results/large"));
    scene.station.post_run(&run.run_id).unwrap();
    for _ in 0..2 {
        let (files, outcome) = scene.station.open_results(image, &["large"]).unwrap();
        assert_eq!((files["large"].len(), outcome.bytes, outcome.files), (LARGE, LARGE as u64, 1));
    }
    refused("run again", scene.pre_run(), "TRAIN_REPLAYED");

    // Whoever stops reading gets no more, and it is in the audit how much they got.
    let memory = scene.station.memory_kib("VmRSS");
    let request = pb::OpenResultsRequest { image: image.into(), paths: Vec::new() };
    block_on(async {
        let mut stream = scene.station.trains_client().open_results(request).await.unwrap().into_inner();
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
