//! What an engine refuses is told in its own words, and is not to be retried where it will not change by itself.

use serde_json::json;

use crate::support::{
    Station,
    proxied::Proxied,
    proxy::{Body, LOAD},
    tamper::{Before, refused},
};

const CREATE: &str = "/containers/create";

#[test]
fn what_an_engine_refuses_comes_in_its_own_words_and_what_passes_is_to_be_retried() {
    let proxied = Proxied::start();
    let (scene, proxy) = (&proxied.scene, &proxied.proxy);
    let before = Before::of(&scene.engine, &scene.train);
    let said = |status: u16, words: &str| Body::refusal(status, json!({ "message": words }).to_string());
    for (marker, times, status, words, reason, engine) in [
        (LOAD, 2, 500, "write /var/lib/docker/tmp/x: no space left on device", "DISK_FULL", "disk-full"),
        (LOAD, 2, 500, "mkdir /var/lib/docker/x: read-only file system", "ENGINE_REFUSED", "read-only"),
        (CREATE, 1, 403, "authorization denied by plugin opa: rule 7", "ENGINE_REFUSED", "denied"),
        (LOAD, 2, 500, "max depth exceeded", "ENGINE_REFUSED", "too-many-layers"),
        (CREATE, 1, 500, "context deadline exceeded", "ENGINE_UNAVAILABLE", ""),
        (CREATE, 1, 503, "the daemon is shutting down", "ENGINE_UNAVAILABLE", ""),
    ] {
        proxy.reply(marker, times, said(status, words));
        let refusal = refused(words, scene.pre_run(), reason);
        assert_eq!(proxy.take_replies(), 0, "{words}: it was not asked");
        assert!(refusal.message.contains(words), "{words}: {refusal:?}");
        let retried = reason == "ENGINE_UNAVAILABLE";
        assert_eq!(refusal.has_retry_info, retried, "{words}: {refusal:?}");
        assert_eq!(refusal.metadata.get("engine").map_or("", String::as_str), engine, "{words}: {refusal:?}");
        proxied.as_it_was(&before);
    }
    // In the middle of a good answer.
    let words = "ApplyLayer exit status 1: write /a: no space left on device";
    proxy.reply(LOAD, 2, Body::json(format!("{}\r\n", json!({ "errorDetail": { "message": words }, "error": words }))));
    assert!(refused(words, scene.pre_run(), "DISK_FULL").message.contains(words));
    proxied.as_it_was(&before);
    scene.pre_run().expect("an engine that takes it");
}

#[test]
fn an_engine_that_docker_would_use_and_the_service_does_not_is_named_at_the_start() {
    let station = Station::with("a").env("DOCKER_HOST", "tcp://127.0.0.1:2375").start();
    let log = station.log();
    let line = log.lines().find(|line| line.contains("DOCKER_HOST=tcp://127.0.0.1:2375")).expect("a warning");
    assert!(line.contains("WARN") && line.contains("unix:///var/run/docker.sock"), "{line}");
}

#[test]
fn what_is_missing_is_what_the_message_names() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let base = format!("{}:base", scene.train.repository);
    let id = scene.engine.find(&base).expect("the base");
    scene.engine.untag(&base);
    let refusal = refused("without its base", scene.pre_run(), "BASE_MISSING");
    assert!(refusal.message.contains(&base), "{refusal:?}");
    let socket = proxied.proxy.address();
    assert!(refusal.message.contains(&socket), "where it was looked for: {refusal:?}");
    scene.engine.tag(&id, &scene.train.repository, "base");
    let refusal = refused("no such image", scene.station.pre_run("harbor.example/none:x"), "IMAGE_NOT_FOUND");
    assert!(refusal.message.contains(&socket), "{refusal:?}");
    let train = scene.engine.find(&scene.train.image).expect("the train");
    let hex = train.strip_prefix("sha256:").unwrap();
    let told = scene.station.hash(hex, true).expect("64 hex digits are an id");
    assert_eq!(told.image_id, train);
    let refusal = refused("a short id", scene.station.hash("0123456789ab", true), "IMAGE_NOT_FOUND");
    assert!(refusal.message.contains("64 hex digits"), "{refusal:?}");
}
