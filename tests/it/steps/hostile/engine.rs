//! Hostile images that need more than one archive: lying `docker save`s, volumes, names that move, engines that write nothing.

use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use stationmaster_proto::OpenInto;
use stationmaster_train::rule::{Enforcement, Rule};

use super::{
    archive::{Parts, entry, header, octal},
    case::{
        Expected,
        Expected::{Refused, Taken},
        Stage, matches,
    },
};
use crate::support::{
    block_on,
    proxied::begin_pre_run,
    proxy::{Body, Do, LOAD, SAVE, WRITE, Way},
    tamper::{Rootfs, commit_with, refused, saved},
};

const HISTORY: &str = "/history HTTP";

/// All of them.
pub fn rows(stage: &mut Stage) {
    saves(stage);
    history(stage);
    volumes(stage);
    moved(stage);
    silent(stage);
    whiteouts_in_a_real_image(stage);
    stage.tally.elsewhere(71, "no container of ours is ever started: at the end, no request for it has been seen");
    stage
        .tally
        .elsewhere(73, "whether entry point and ONBUILD are the master's only its validation can say: it is not in this step");
    let boundaries = Rule::from_name("file-boundaries").expect("a rule");
    assert!(matches!(boundaries.standing(), Enforcement::NotCheckable(_)));
    stage.tally.elsewhere(76, "contents are hashed without their lengths on this wire: every report says so (file-boundaries)");
}

/// A call that ends when its caller's patience does, and leaves everything as it was.
#[track_caller]
pub fn ends_with_its_deadline(stage: &mut Stage, class: u32, what: &str) {
    let begun = Instant::now();
    let mut stream = begin_pre_run(stage.scene(), OpenInto::Image, Some("2000m"));
    let status = block_on(async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{class} {what}: it ended well"),
                Err(status) => break status,
            }
        }
    });
    let time = begun.elapsed();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{class} {what}: {status:?}");
    drop(stream);
    stage.settle();
    stage.unchanged(class, what);
    stage.proxied.proxy.take_replies();
    stage.tally.note(&stage.proxied.scene.station, class, what, "", time);
}

/// Archives of whole images, as `HashImage` reads them.
fn saves(stage: &mut Stage) {
    let image = stage.layered.clone();
    let bytes = saved(&image);
    let honest = Parts::of(&bytes);
    let manifest: Value = serde_json::from_slice(Rootfs::read(&bytes).content("manifest.json")).expect("a manifest");
    let layers: Vec<String> =
        manifest[0]["Layers"].as_array().expect("layers").iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert!(layers.len() > 1, "an image of more than one layer");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        change(&mut manifest[0]);
        honest.replaced("manifest.json", entry(b"manifest.json", b'0', manifest.to_string().as_bytes())).bytes()
    };
    let named = |names: &[&str]| with(&|image| image["Layers"] = names.into());
    let all: Vec<&str> = layers.iter().map(String::as_str).collect();
    let mut reversed = all.clone();
    reversed.reverse();
    let mut changed = honest.clone();
    let layer = changed.blocks(&layers[0]);
    // The first name in the layer, with a checksum that holds.
    let mut head = tar::Header::new_old();
    head.as_mut_bytes().copy_from_slice(&layer[512..1024]);
    head.set_mtime(1);
    head.set_cksum();
    layer[512..1024].copy_from_slice(head.as_bytes());
    let packed = |content: &[u8]| honest.replaced(&layers[0], entry(layers[0].as_bytes(), b'0', content)).bytes();
    let foreign = {
        let mut names = all.clone();
        names[0] = "https://127.0.0.1:1/layer.tar";
        with(&|image| {
            image["Layers"] = names.clone().into();
            image["LayerSources"] = serde_json::json!({ "sha256:00": { "urls": ["https://127.0.0.1:1/layer.tar"] } });
        })
    };
    let long = honest.replaced(&layers[0], {
        let layer = [header(b"x", b'x', 0o644, &octal((1 << 33) - 1), ""), vec![0; 512]].concat();
        entry(layers[0].as_bytes(), b'0', &layer)
    });
    let rows = [
        (41, "a layer's PAX header that says 8 GiB", long.bytes(), "LIMIT_EXCEEDED"),
        (45, "a save that is cut off", bytes[..bytes.len() / 2].to_vec(), "ARCHIVE_MALFORMED"),
        (52, "a layer in gzip", packed(b"\x1f\x8b\x08\0\0\0\0\0\0\x03bomb"), "ARCHIVE_MALFORMED"),
        (53, "a layer in xz", packed(b"\xfd7zXZ\0\0\x04bomb"), "ARCHIVE_MALFORMED"),
        (61, "a manifest that climbs", named(&["../../../etc/passwd"]), "ARCHIVE_MALFORMED"),
        (61, "a manifest that climbs, once for each layer", named(&vec!["../../../etc/passwd"; all.len()]), "ARCHIVE_MALFORMED"),
        (62, "a layer that is another", changed.bytes(), "ARCHIVE_MALFORMED"),
        (62, "layers in another order", named(&reversed), "ARCHIVE_MALFORMED"),
        (63, "no layers", named(&[]), "ARCHIVE_MALFORMED"),
        (63, "one layer twice", named(&vec![all[0]; all.len()]), "ARCHIVE_MALFORMED"),
        (64, "a layer less than the image has", named(&all[1..]), "ARCHIVE_MALFORMED"),
        (64, "a layer more than the image has", named(&[&all[..], &all[..1]].concat()), "ARCHIVE_MALFORMED"),
        (66, "a manifest of 1 GiB", header(b"manifest.json", b'0', 0o644, &octal(1 << 30), ""), "LIMIT_EXCEEDED"),
        (66, "a manifest that is none", with(&|image| *image = Value::Null), "ARCHIVE_MALFORMED"),
        (67, "a layer from somewhere else", foreign, "ARCHIVE_MALFORMED"),
    ];
    for (class, what, archive, reason) in rows {
        stage.proxied.proxy.reply(SAVE, 1, Body::tar(archive));
        let begun = Instant::now();
        let refusal = refused(&format!("{class} {what}"), stage.scene().station.hash(&image, false), reason);
        let time = begun.elapsed();
        matches(what, &refusal, Refused(reason));
        stage.settle();
        stage.unchanged(class, what);
        stage.tally.note(&stage.proxied.scene.station, class, what, "", time);
    }
    assert_eq!(stage.proxied.proxy.take_replies(), 0, "a save was not asked for");
    assert!(stage.scene().station.hash(&image, false).is_ok(), "the honest image");
}

/// An engine, or the builder of the image, states another history than the true one.
fn history(stage: &mut Stage) {
    let image = stage.scene().train.image.clone();
    let mut told = serde_json::to_value(crate::support::tamper::history(&image)).expect("JSON");
    for entry in told.as_array_mut().expect("entries") {
        entry["CreatedBy"] = "stationmaster pre-run".into();
        entry["Comment"] = "verified".into();
    }
    let ours = ("every entry says it is ours", told.to_string(), Expected::Rule("no-plaintext-layers"));
    let none = ("no history", "[]".into(), Taken("history is copied, and nothing is believed for it"));
    for (what, told, expected) in [ours, none] {
        // Asked for the train's and the base's.
        stage.proxied.proxy.reply(HISTORY, 2, Body::json(told));
        stage.judge(65, what, expected);
    }
}

/// Volumes of the image's own over what is verified.
fn volumes(stage: &mut Stage) {
    let (engine, image, repository) =
        (stage.scene().engine.clone(), stage.scene().train.image.clone(), stage.scene().train.repository.clone());
    let expected = Expected::Rule("no-volumes-over-the-train");
    for volume in ["/opt/pht_results", "/opt/pht_train/lib", "/opt/./pht_results/", "/opt"] {
        commit_with(&engine, &image, &format!("VOLUME {volume}"), &repository, "volume");
        let name = format!("{repository}:volume");
        // What is not part of the stage must be gone before all is compared: the image is untagged, which removes it.
        let begun = Instant::now();
        let refusal = stage.scene().station.pre_run(&name).expect_err(volume);
        let time = begun.elapsed();
        engine.untag(&name);
        matches(volume, &refusal, expected);
        stage.unchanged(69, volume);
        stage.tally.note(&stage.proxied.scene.station, 69, volume, "", time);
    }
}

/// The name stands for another image when the train has been opened.
fn moved(stage: &mut Stage) {
    let what = "while the train is written";
    let (image, other, repository) =
        (stage.scene().train.image.clone(), stage.layered.clone(), stage.scene().train.repository.clone());
    let id = stage.scene().engine.find(&image).expect("the train");
    let proxied = &stage.proxied;
    proxied.proxy.when(LOAD, Way::ToEngine, 1 << 20, Do::Stall);
    let begun = Instant::now();
    let refusal = std::thread::scope(|scope| {
        let call = scope.spawn(|| proxied.scene.pre_run());
        proxied.proxy.struck();
        proxied.scene.engine.tag(&other, &repository, "latest");
        proxied.proxy.release();
        call.join().expect("no panic").expect_err("the name was moved")
    });
    let time = begun.elapsed();
    matches(what, &refusal, Refused("IMAGE_CHANGED"));
    assert_eq!(stage.scene().engine.find(&image), stage.scene().engine.find(&other), "the other's name was left alone");
    stage.scene().engine.tag(&id, &repository, "latest");
    stage.settle();
    stage.unchanged(70, what);
    stage.tally.note(&stage.proxied.scene.station, 70, what, "", time);
}

/// An engine that says yes and writes nothing.
fn silent(stage: &mut Stage) {
    let image = stage.scene().train.image.clone();
    let said = format!("{{\"stream\":\"Loaded image ID: sha256:{}\\n\"}}\r\n", "0".repeat(64));
    // The partial archive, and then the whole.
    stage.proxied.proxy.reply(LOAD, 2, Body::json(said));
    stage.judge(72, "an image", Refused("ENGINE_UNAVAILABLE"));
    stage.proxied.proxy.reply(WRITE, 1, Body::Tar(Bytes::new()));
    stage.judge_call(72, "volumes", Refused("ENGINE_UNAVAILABLE"), |station| station.open_into(&image, OpenInto::Volume));
    // The honest engine still does both.
    stage.judge_call(72, "an honest engine", Taken("control"), |station| station.open_into(&image, OpenInto::Volume));
}

/// What an engine itself makes of a whiteout in an image; beside what it takes away, in one layer, it imports none.
fn whiteouts_in_a_real_image(stage: &mut Stage) {
    let what = "in a real image";
    let mut image = stage.scene().rootfs();
    image.remove("opt/pht_train");
    image.add_file("opt/.wh.pht_train", b"");
    let (engine, repository) = (stage.scene().engine.clone(), stage.scene().train.repository.clone());
    image.put(&engine, &repository, "whiteout");
    let name = format!("{repository}:whiteout");
    let begun = Instant::now();
    let refusal = stage.scene().station.pre_run(&name).expect_err(what);
    let time = begun.elapsed();
    matches(what, &refusal, Expected::Rule("both-directories-present"));
    engine.untag(&name);
    stage.unchanged(60, what);
    stage.tally.note(&stage.proxied.scene.station, 60, what, "", time);
}
