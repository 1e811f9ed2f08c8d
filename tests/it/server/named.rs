//! What is not there is named, in the message and in the metadata, by the name that the caller gave.

use stationmaster_proto as pb;
use stationmaster_proto::SignatureScheme;

use crate::support::{Refusal, Station, block_on, set, tamper::refused};

fn names(refusal: &Refusal, key: &str, subject: &str) {
    assert!(refusal.message.contains(subject), "{refusal:?} does not name {subject}");
    assert_eq!(refusal.metadata.get(key).map(String::as_str), Some(subject), "{refusal:?}");
}

#[test]
fn what_is_not_there_is_named_as_the_caller_named_it() {
    let layouts = tempfile::tempdir().unwrap();
    let station = Station::with("a").layouts(layouts.path()).start_configured(|_| {});
    let image = "harbor.example/absent:x";
    let refusal = refused("inspect", station.inspect(image), "IMAGE_NOT_FOUND");
    names(&refusal, "image", image);
    assert!(refusal.message.contains(layouts.path().to_str().unwrap()), "{refusal:?}");
    names(&refused("pre-run", station.pre_run(image), "IMAGE_NOT_FOUND"), "image", image);
    names(&refused("hash", station.hash(image, true), "IMAGE_NOT_FOUND"), "image", image);
    let run = "0192d0c0-0000-7000-8000-000000000000";
    names(&refused("abort", station.abort(run), "RUN_NOT_FOUND"), "run_id", run);
    names(&refused("post-run", station.post_run(run), "RUN_NOT_FOUND"), "run_id", run);
    names(&refused("show", station.key("absent"), "KEY_NOT_FOUND"), "key", "absent");
    names(&refused("sign", station.sign("absent", SignatureScheme::RsaPssSha256, &[1; 32]), "KEY_NOT_FOUND"), "key", "absent");
    // As the command line says it.
    let shown = station.socket_command(&["key", "show", "absent"]).output().unwrap();
    assert_eq!(shown.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&shown.stderr).contains("\"absent\""), "{}", crate::cli::said(&shown));
}

#[test]
fn what_a_caller_names_is_neither_long_nor_of_control_characters_in_an_answer() {
    let layouts = tempfile::tempdir().unwrap();
    let station = Station::with("a").layouts(layouts.path()).start_configured(|_| {});
    let run = format!("\u{1b}[31m\n{}", "x".repeat(20_000));
    let refusal = refused("abort", station.abort(&run), "RUN_NOT_FOUND");
    for text in [&refusal.message, &refusal.metadata["run_id"]] {
        assert!(text.len() < 400 && !text.chars().any(char::is_control), "{} bytes: {text:?}", text.len());
    }
}

#[test]
fn a_master_that_is_not_allowed_is_named() {
    let scene = crate::support::tamper::Scene::pinned();
    let station = &scene.station;
    let request = pb::ValidateImageRequest {
        image: scene.train.image.clone(),
        master: "harbor.example/no/master".into(),
        as_train_lib: false,
    };
    let asked: Result<(), Refusal> = block_on(async {
        let mut stream = station.images_client().validate_image(request).await?.into_inner();
        while stream.message().await?.is_some() {}
        Ok(())
    });
    names(&refused("validate", asked, "MASTER_UNKNOWN"), "master", "harbor.example/no/master");
}

#[test]
fn an_engine_that_is_away_is_named_by_calls_and_by_health() {
    let mut station = Station::start("a");
    station.stop();
    let socket = station.state().join("no-engine.sock");
    station.configure(|config| set(config, "engine", "socket", format!("unix://{}", socket.display())));
    station.spawn();
    let told = crate::support::wait_for("health to know the engine", || {
        let said = crate::cli::said(&station.socket_command(&["health"]).output().unwrap());
        said.contains("engine: unusable").then_some(said)
    });
    assert!(told.contains(socket.to_str().unwrap()), "{told}");
    let refusal = refused("inspect", station.inspect("absent:x"), "ENGINE_UNAVAILABLE");
    assert!(refusal.message.contains(socket.to_str().unwrap()), "{refusal:?}");
    let said = crate::cli::said(&station.socket_command(&["train", "inspect", "absent:x"]).output().unwrap());
    assert!(said.contains(socket.to_str().unwrap()) && !said.contains("trust"), "{said}");
}
