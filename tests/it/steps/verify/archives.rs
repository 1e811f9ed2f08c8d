//! What cannot be read as a train is refused, with its reason, and the next call works.

use stationmaster_proto as pb;
use stationmaster_proto::verify_train_request::Part;
use tar::EntryType;

use super::{broken, delivered};
use crate::support::{
    Engine, Refusal, Station, block_on, spawn,
    tamper::{CONFIG, Rootfs, Scene, fetched, refused, saved},
    wait_for,
};

#[test]
fn an_archive_that_breaks_off_is_refused_wherever_it_does() {
    let scene = Scene::set();
    let archives = [
        fetched(&scene.engine, &scene.train.image, "/opt"),
        delivered(&scene.engine, &scene.train.image).tar(),
        saved(&scene.train.image),
    ];
    for whole in archives {
        scene.station.verify_archive(&whole).unwrap();
        // The engine ends an archive with two blocks of zeros, or more.
        let end = whole.len() - whole.iter().rev().take_while(|byte| **byte == 0).count();
        let end = end.next_multiple_of(512);
        for cut in [100, 512, end / 2, end / 3 / 512 * 512, end - 512, end, end + 512] {
            let answer = scene.station.verify_archive(&whole[..cut]);
            refused(&format!("cut at {cut} of {end}"), answer, "ARCHIVE_MALFORMED");
        }
        let followed = [&whole[..], b"more"].concat();
        refused("followed by something", scene.station.verify_archive(&followed), "ARCHIVE_MALFORMED");
        let twice = [&whole[..], &whole].concat();
        refused("followed by another", scene.station.verify_archive(&twice), "ARCHIVE_MALFORMED");
    }
}

#[test]
fn what_is_no_archive_of_a_train_is_refused() {
    let scene = Scene::set();
    let opt = Rootfs::read(&fetched(&scene.engine, &scene.train.image, "/opt"));
    let refuse = |what: &str, reason: &str, change: &dyn Fn(&mut Rootfs)| {
        let mut changed = opt.clone();
        change(&mut changed);
        refused(what, scene.station.verify_archive(&changed.tar()), reason);
    };
    refuse("no config", "CONFIG_MALFORMED", &|train| train.remove(CONFIG));
    refuse("a config that is a link", "CONFIG_MALFORMED", &|train| {
        train.remove(CONFIG);
        train.add(CONFIG, EntryType::Symlink, "elsewhere.json");
    });
    refuse("a config that is no JSON", "CONFIG_MALFORMED", &|train| train.content(CONFIG).truncate(99));
    refuse("a session that is not hex", "CONFIG_MALFORMED", &|train| {
        train.edit_config(|config| config["session_id"] = "not hex".into());
    });
    refuse("an entry outside", "ARCHIVE_MALFORMED", &|train| train.add_file("etc/passwd", b"x"));
    refuse("a config that is too large", "LIMIT_EXCEEDED", &|train| {
        train.content(CONFIG).resize(9 << 20, b' ');
    });
    let mut foreign = delivered(&scene.engine, &scene.train.image);
    foreign.add_file("more.txt", b"x");
    refused("more than the extractor delivers", scene.station.verify_archive(&foreign.tar()), "ARCHIVE_MALFORMED");
    let mut none = Rootfs::read(&[0; 1024]);
    refused("nothing", scene.station.verify_archive(&none.tar()), "ARCHIVE_MALFORMED");
    none.add_file("hello", b"x");
    refused("something else", scene.station.verify_archive(&none.tar()), "ARCHIVE_MALFORMED");
    refused("no archive", scene.station.verify_archive(&[7; 4096]), "ARCHIVE_MALFORMED");
    refused("a long one that is none", scene.station.verify_archive(&vec![7; 20 << 20]), "ARCHIVE_MALFORMED");
    let mut compressed = vec![0x1f, 0x8b, 8, 0];
    compressed.resize(4096, 1);
    refused("a compressed one", scene.station.verify_archive(&compressed), "ARCHIVE_MALFORMED");
    refused("no image", scene.station.verify(&format!("{}:absent", scene.train.repository)), "IMAGE_NOT_FOUND");
    refused("no reference", scene.station.verify("Upper:case"), "IMAGE_REF_INVALID");
    assert_eq!(broken(&scene.station.verify(&scene.train.image).unwrap().rules), [""; 0]);
}

#[test]
fn an_image_without_a_config_is_refused() {
    let scene = Scene::set();
    let mut image = scene.rootfs();
    image.remove("opt");
    image.put(&scene.engine, &scene.train.repository, "bare");
    let answer = scene.station.verify(&format!("{}:bare", scene.train.repository));
    refused("no /opt", answer, "CONFIG_MALFORMED");
}

#[test]
fn messages_in_a_wrong_order_are_refused() {
    let station = Station::start("a");
    let (image, piece) = (|| Part::Image("a:b".into()), || Part::Archive(vec![0; 512]));
    refused("nothing", station.verify_parts(vec![]), "MALFORMED_REQUEST");
    refused("two images", station.verify_parts(vec![image(), image()]), "MALFORMED_REQUEST");
    refused("an image, then an archive", station.verify_parts(vec![image(), piece()]), "MALFORMED_REQUEST");
    let answer = block_on(station.trains_client().verify_train(tokio_stream::once(pb::VerifyTrainRequest { part: None })));
    refused("a message of nothing", answer.map_err(Refusal::from), "MALFORMED_REQUEST");
    let refusal =
        refused("a piece that is too large", station.verify_parts(vec![Part::Archive(vec![0; 65 << 10])]), "LIMIT_EXCEEDED");
    assert_eq!(refusal.metadata["limit"], "request_bytes");
    let scene = Scene::with(station);
    let whole = fetched(&scene.engine, &scene.train.image, "/opt");
    let late = vec![Part::Archive(whole[..1024].into()), Part::Archive(vec![0; 65 << 10])];
    refused("a later one", scene.station.verify_parts(late), "LIMIT_EXCEEDED");
    let mixed = vec![Part::Archive(whole[..1024].into()), image()];
    refused("an archive, then an image", scene.station.verify_parts(mixed), "MALFORMED_REQUEST");
    scene.station.verify_archive(&whole).unwrap();
}

#[test]
fn uploads_that_are_given_up_hold_no_place() {
    let station = Station::with("a").start_configured(|config| {
        let one = ["runs", "uploads"].map(|limit| (limit.to_owned(), 1.into()));
        config.insert("limits".into(), toml::Table::from_iter(one).into());
    });
    let scene = Scene::with(station);
    let whole = fetched(&Engine::connect(), &scene.train.image, "/opt");
    let begin = || {
        let first = pb::VerifyTrainRequest { part: Some(Part::Archive(whole[..4096].into())) };
        let mut client = scene.station.trains_client();
        spawn(async move {
            // The rest never comes.
            let stalled = futures_util::StreamExt::chain(tokio_stream::once(first), tokio_stream::pending());
            client.verify_train(stalled).await.map(drop)
        })
    };
    for _ in 0..3 {
        let mut upload = begin();
        wait_for("the upload to take the place of uploads", || {
            if upload.is_finished() {
                // The archive that was sent below had it.
                upload = begin();
            }
            let answer = scene.station.verify_archive(&whole);
            (answer.is_err_and(|refusal| refusal.reason == "OVERLOADED") && !upload.is_finished()).then_some(())
        });
        scene.station.verify(&scene.train.image).expect("the only place for a step is free");
        upload.abort();
        wait_for("the place to be free", || scene.station.verify_archive(&whole).ok());
    }
}
