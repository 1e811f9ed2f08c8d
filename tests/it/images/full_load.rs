//! Engines that do not take an archive with only the new layer: they are sent the whole image, and the answer says so.

use stationmaster_image::{
    oci::reference::ImageSource,
    store::{
        ImageStore, docker,
        recipe::{BuiltImage, ImageSpec, LayerSource, WriteError},
    },
    tar::{
        entry::FileAttrs,
        layer_writer::{LayerPlan, write_archive},
    },
};
use stationmaster_proto::OpenInto;

use crate::support::{
    Engine, Seat, Train, block_on, handle,
    proxied::{Proxied, begin_pre_run, when_free},
    proxy::{Do, LOAD, SAVE, Way},
    tamper::{Before, RESULTS, refused, run_script},
    wait_for, whole_images,
};

const WARNING: &str = "the engine takes no partial archives: the whole image was sent";
const LOGGED: &str = "the engine takes no partial archives: whole images are sent from now on";

/// The warnings of an answer, without the one of every station that trusts the keys in trains.
fn warned(warnings: &[String]) -> Vec<&str> {
    warnings.iter().map(String::as_str).filter(|warning| *warning != stationmaster::protocol::EMBEDDED).collect()
}

/// What is warned of when nothing stands between service and engine.
fn usual_warnings(engine: &Engine) -> &'static [&'static str] {
    if engine.takes_partial_archives() { &[] } else { &[WARNING] }
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn an_engine_that_refuses_a_partial_archive_is_sent_the_whole_image_and_the_response_warns() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    proxied.proxy.refuse_loads(1);
    let run = scene.pre_run().unwrap();
    assert_eq!((proxied.proxy.hits(), warned(&run.warnings)), (1, vec![WARNING]));
    run_script(&scene.engine, &scene.train.image, RESULTS);
    let closed = scene.station.post_run(&run.run_id).unwrap();
    assert!(closed.plaintext_held_by.is_empty(), "{closed:?}");
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
    let ids = scene.engine.image_ids(&scene.train.repository);
    assert_eq!(ids.len(), 2, "more than base and train is left: {ids:?}");
}

#[test]
fn an_engine_that_refused_a_partial_archive_is_not_asked_again() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    proxied.proxy.refuse_loads(1);
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    // Were it asked, it would take the archive, and there would be nothing to warn of.
    let closed = scene.station.post_run(&run.run_id).unwrap();
    assert_eq!(warned(&closed.warnings), [WARNING]);
    assert_eq!(count(&scene.station.log(), LOGGED), 1, "{}", scene.station.log());
}

#[test]
fn an_engine_that_refuses_the_whole_image_too_leaves_the_train_as_it_was() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let before = Before::of(&scene.engine, &scene.train);
    proxied.proxy.refuse_loads(2);
    refused("both refused", scene.pre_run(), "ENGINE_REFUSED");
    assert_eq!(proxied.proxy.hits(), 2);
    before.assert(&scene.station, "both refused");
    // Nothing is known of this engine yet: the faster way is tried anew.
    assert_eq!(warned(&scene.pre_run().unwrap().warnings), usual_warnings(&scene.engine));
}

#[test]
fn a_connection_that_breaks_is_not_taken_for_a_refusal() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    proxied.proxy.when(LOAD, Way::ToEngine, 1 << 20, Do::Cut);
    refused("the engine went", scene.pre_run(), "ENGINE_UNAVAILABLE");
    proxied.proxy.restore();
    proxied.healthy("SERVING");
    assert_eq!(warned(&when_free(|| scene.pre_run()).warnings), usual_warnings(&scene.engine));
}

#[test]
fn a_caller_that_hangs_up_while_the_parent_is_passed_on_leaves_the_train_as_it_was() {
    let proxied = Proxied::configured(whole_images);
    let scene = &proxied.scene;
    let before = Before::of(&scene.engine, &scene.train);
    proxied.proxy.when(SAVE, Way::FromEngine, 1 << 20, Do::Stall);
    let stream = begin_pre_run(scene, OpenInto::Image, None);
    proxied.proxy.struck();
    drop(stream);
    wait_for("the cancel to be seen", || {
        scene.station.log().lines().any(|line| line.contains("PreRun") && line.contains("Cancelled")).then_some(())
    });
    proxied.proxy.release();
    proxied.as_it_was(&before);
    let run = when_free(|| scene.pre_run());
    assert!(warned(&run.warnings).is_empty(), "what the configuration asks for is no news: {:?}", run.warnings);
}

#[test]
fn an_engine_that_goes_while_the_parent_is_passed_on_leaves_the_train_as_it_was() {
    let proxied = Proxied::configured(whole_images);
    let scene = &proxied.scene;
    let before = Before::of(&scene.engine, &scene.train);
    proxied.proxy.when(SAVE, Way::FromEngine, 1 << 20, Do::Cut);
    refused("the engine went", scene.pre_run(), "ENGINE_UNAVAILABLE");
    proxied.proxy.restore();
    proxied.healthy("SERVING");
    proxied.as_it_was(&before);
    let run = when_free(|| scene.pre_run());
    assert_eq!(scene.engine.find(&scene.train.image), Some(run.image_id));
}

/// A layer of files in memory.
struct Bytes<'a>(&'a LayerPlan<'a, Vec<u8>>);

impl LayerSource for Bytes<'_> {
    fn size(&self) -> u64 {
        self.0.len()
    }

    fn write(&mut self, out: &mut dyn std::io::Write) -> Result<(), WriteError> {
        write_archive(out, self.0, |bytes, each| each(bytes))
    }
}

#[test]
fn both_ways_make_the_same_image() {
    let key = openssl::rsa::Rsa::generate(2048).unwrap().public_key_to_pem().unwrap();
    let train = Train::of(&[Seat { id: "a".into(), hex_pem: const_hex::encode(key) }]).make();
    let socket = Engine::host().unwrap_or_else(|| "unix:///var/run/docker.sock".into());
    let engine = docker::Engine::new(&socket, std::time::Duration::from_secs(60), "whole-images", handle()).unwrap();
    block_on(engine.check()).unwrap();
    let parent = engine.metadata(&engine.resolve(&ImageSource::Name(train.image.parse().unwrap())).unwrap()).unwrap();
    let mut plan = LayerPlan::default();
    plan.directory("opt/pht_results", FileAttrs::directory(7), true);
    plan.file("opt/pht_results/a", FileAttrs::immutable_file(8), 3 << 20, vec![9; 3 << 20]);
    plan.file(format!("opt/pht_results/{}", "n".repeat(120)), FileAttrs::immutable_file(8), 1, vec![1]);
    let spec = ImageSpec {
        parent: &parent,
        instruction: "a test",
        created: 1_700_000_000,
        is_plaintext: false,
        announce: &|_| Ok(()),
        cancel: &Default::default(),
    };
    let write = |engine: &docker::Engine| {
        let BuiltImage { id, .. } = engine.build(&spec, &mut Bytes(&plan)).unwrap();
        let facts = format!("{:?}", engine.metadata(&id).unwrap());
        engine.remove(&id).unwrap();
        (id, facts)
    };
    let (id, facts) = write(&engine);
    // The id is the digest of configuration, history and every layer's digest.
    assert_eq!(write(&engine.with_partial_load(false)), (id, facts));
}
