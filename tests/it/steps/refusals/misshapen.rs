//! Images that are not what a train is, trains that are not for us, and references that cannot be meant.

use tar::EntryType;

use crate::support::{
    Seat, Station, Train,
    tamper::{Before, CONFIG, Rootfs, Scene, refused, stop},
};

#[test]
fn a_station_that_is_not_on_the_route_is_refused() {
    let scene = Scene::set();
    let mut train = scene.rootfs();
    train.edit_config(|config| stop(config, 0)["station"] = "b".into());
    scene.refuses("another station", &train, "ROUTE_REJECTED");
    // A station that is a number is never the station whose id is spelled so.
    train.edit_config(|config| stop(config, 0)["station"] = 1.into());
    scene.refuses("a number", &train, "ROUTE_REJECTED");
    scene.still_works();
}

#[test]
fn a_route_that_names_another_key_for_us_is_refused() {
    let scene = Scene::set();
    let mut train = scene.rootfs();
    train.edit_config(|config| {
        let foreign = config["build"]["rsa_public_key"].clone();
        stop(config, 0)["rsa_public_key"] = foreign;
    });
    scene.refuses("a foreign key", &train, "ROUTE_REJECTED");
    scene.still_works();
}

#[test]
fn a_route_that_names_our_general_key_is_refused() {
    let scene = Scene::set();
    let general = scene.station.key("a-general").unwrap().public_key_hex_pem;
    let mut train = scene.rootfs();
    train.edit_config(|config| stop(config, 0)["rsa_public_key"] = general.into());
    scene.refuses("the general key", &train, "ROUTE_REJECTED");
    scene.still_works();
}

#[test]
fn a_train_that_comes_too_early_is_refused() {
    let (first, second) = (Seat { id: "z".into(), hex_pem: String::new() }, Station::start("a"));
    let first = Seat { hex_pem: second.key("a-general").unwrap().public_key_hex_pem, ..first };
    let train = Train::of(&[first, second.seat()]).make();
    let engine = crate::support::Engine::connect();
    let before = Before::of(&engine, &train);
    refused("the stop before has not signed", second.pre_run(&train.image), "ROUTE_REJECTED");
    before.assert(&second, "too early");
}

#[test]
fn a_train_without_its_base_is_refused_before_the_run() {
    let scene = Scene::set();
    let id = scene.engine.find(&scene.train.base).unwrap();
    scene.engine.untag(&scene.train.base);
    let before = Before::of(&scene.engine, &scene.train);
    refused("no base", scene.pre_run(), "BASE_MISSING");
    before.assert(&scene.station, "no base");
    scene.engine.tag(&id, &scene.train.repository, "base");
    scene.still_works();
}

#[test]
fn an_image_that_is_not_a_train_is_refused() {
    let scene = Scene::set();
    let train = scene.rootfs();
    let attack = |what: &str, change: &dyn Fn(&mut Rootfs)| {
        let mut image = train.clone();
        change(&mut image);
        scene.refuses(what, &image, "CONFIG_MALFORMED");
    };
    attack("no config", &|image| image.remove(CONFIG));
    attack("no /opt", &|image| image.remove("opt"));
    attack("an empty config", &|image| image.content(CONFIG).clear());
    attack("a truncated config", &|image| {
        let half = image.content(CONFIG).len() / 2;
        image.content(CONFIG).truncate(half);
    });
    attack("no JSON", &|image| *image.content(CONFIG) = b"\0\xff not JSON".to_vec());
    attack("no object", &|image| *image.content(CONFIG) = b"[]".to_vec());
    attack("no route", &|image| image.edit_config(|config| drop(config.as_object_mut().unwrap().remove("route"))));
    attack("a route that is none", &|image| image.edit_config(|config| config["route"] = 7.into()));
    attack("a session that is not hex", &|image| image.edit_config(|config| config["session_id"] = "not hex".into()));
    scene.still_works();
}

#[test]
fn names_links_and_special_files_that_a_train_may_not_hold_are_refused() {
    let scene = Scene::set();
    let train = scene.rootfs();
    let attack = |what: &str, rule: &str, change: &dyn Fn(&mut Rootfs)| {
        let mut image = train.clone();
        change(&mut image);
        let refusal = scene.refuses(what, &image, "IMAGE_POLICY_VIOLATION");
        assert_eq!(refusal.metadata["rule"], rule, "{what}");
        let id = &refusal.metadata["refusal_id"];
        assert!(
            scene.station.log().lines().any(|line| line.contains(id.as_str()) && line.contains(rule)),
            "{what}: not in the log"
        );
    };
    let links = "no-links-or-special-files";
    attack("a listed file is missing", "listed-files-present", &|image| image.remove("opt/pht_train/data.bin"));
    attack("a symlink among the code", links, &|image| image.add("opt/pht_train/x", EntryType::Symlink, "/etc/passwd"));
    attack("a listed file is a symlink", links, &|image| {
        image.remove("opt/pht_train/data.bin");
        image.add("opt/pht_train/data.bin", EntryType::Symlink, "run.sh");
    });
    attack("a hard link among the results", links, &|image| {
        image.add_file("opt/pht_results/a", b"twice");
        image.add("opt/pht_results/b", EntryType::Link, "opt/pht_results/a");
    });
    attack("a pipe", links, &|image| image.add("opt/pht_results/pipe", EntryType::Fifo, ""));
    attack("a device", links, &|image| image.add("opt/pht_train/device", EntryType::Char, ""));
    attack("the results are a symlink", links, &|image| {
        image.remove("opt/pht_results");
        image.add("opt/pht_results", EntryType::Symlink, "/tmp");
    });
    attack("the code is a symlink", links, &|image| {
        image.remove("opt/pht_train");
        image.add("opt/pht_train", EntryType::Symlink, "/tmp");
    });
    attack("the config is a symlink", links, &|image| {
        image.entry(CONFIG).path = "opt/elsewhere.json".into();
        image.add(CONFIG, EntryType::Symlink, "elsewhere.json");
    });
    attack("no results", "both-directories-present", &|image| image.remove("opt/pht_results"));
    attack("a control character", "plain-names", &|image| image.add_file("opt/pht_results/a\u{1b}[2J", b"x"));
    for name in [".wh.run.sh", "../run.sh", "/etc/passwd", "a//b", "./query.json", ""] {
        attack(&format!("{name:?} on the list"), "plain-names", &|image| {
            image.edit_config(|config| config["file_list"].as_array_mut().unwrap().push(name.into()));
        });
    }
    attack("a key on the route that cannot be wrapped for", "route-keys-usable", &|image| {
        image.edit_config(|config| {
            let mut next = stop(config, 0).clone();
            (next["station"], next["index"], next["encrypted_key"]) = ("z".into(), 1.into(), serde_json::Value::Null);
            next["rsa_public_key"] = const_hex::encode("no key").into();
            config["route"].as_array_mut().unwrap().push(next);
        });
    });
    scene.still_works();
}

#[test]
fn an_image_that_is_not_there_and_a_reference_that_cannot_be_written_are_refused() {
    let scene = Scene::set();
    let before = Before::of(&scene.engine, &scene.train);
    let id = scene.engine.find(&scene.train.image).unwrap();
    let repository = &scene.train.repository;
    refused("no such image", scene.station.pre_run(&format!("{repository}:absent")), "IMAGE_NOT_FOUND");
    for reference in [&format!("{repository}@{id}"), &id, "", "Upper:case", "a b", &format!("{repository}:x:y"), "../x"] {
        let refusal = refused(reference, scene.station.pre_run(reference), "IMAGE_REF_INVALID");
        assert_eq!(refusal.code, tonic::Code::InvalidArgument);
    }
    before.assert(&scene.station, "references");
    scene.still_works();
}
