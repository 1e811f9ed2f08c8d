//! Disks that are full: the spool's, the shared directory's, the ledger's, the engine's own. A refusal, nothing half done, and
//! all works again when there is space.

use std::path::Path;

use stationmaster_proto::OpenInto;

use crate::support::{
    Disk, PrivateEngine, Refusal, Station, Train,
    disk::{empty, fill},
    mounts::EVERYWHERE,
    proxied::{Proxied, share_directory},
    proxy::{Do, LOAD, Way},
    set,
    tamper::{Before, RESULTS, Scene, refused, run_script},
    wait_for,
};

/// KiB of a disk on which a service still serves: health wants 16 MiB to be free below the directories that it writes to.
const SERVES: u64 = 32 << 10;

/// A station whose spool is on a disk of 1 MiB.
fn small_disk(spool: &Path) -> Station {
    Station::with("a").start_configured(|config| {
        config["state"].as_table_mut().unwrap().insert("spool".into(), spool.to_str().unwrap().into());
        config.insert("limits".into(), toml::toml! { spool_min_free_mib = 0 }.into());
    })
}

#[test]
fn a_full_spool_disk_refuses_and_works_again_when_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::mount(directory.path(), 1 << 10);
    let scene = Scene::with(small_disk(directory.path()));
    fill(directory.path(), 0);

    let before = Before::of(&scene.engine, &scene.train);
    let full = refused("pre-run", scene.pre_run(), "DISK_FULL");
    assert_eq!((full.code, full.metadata["resource"].as_str()), (tonic::Code::ResourceExhausted, "spool"));
    before.assert(&scene.station, "pre-run");

    empty(directory.path());
    let run = scene.pre_run().unwrap();
    run_script(&scene.engine, &scene.train.image, RESULTS);
    fill(directory.path(), 0);
    let before = Before::of(&scene.engine, &scene.train);
    refused("post-run", scene.station.post_run(&run.run_id), "DISK_FULL");
    before.assert(&scene.station, "post-run");

    empty(directory.path());
    scene.station.post_run(&run.run_id).unwrap();
    drop(scene);
    drop(disk);
}

#[test]
fn a_train_larger_than_the_spools_disk_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::mount(directory.path(), 1 << 10);
    let mut scene = Scene::with(small_disk(directory.path()));
    let small = std::mem::replace(&mut scene.train, Train::of(&[scene.station.seat()]).file("large.bin", 3 << 20).make());
    let before = Before::of(&scene.engine, &scene.train);
    refused("3 MiB on 1 MiB", scene.pre_run(), "DISK_FULL");
    before.assert(&scene.station, "3 MiB on 1 MiB");
    scene.train = small;
    scene.still_works();
    drop(scene);
    drop(disk);
}

#[test]
fn a_train_larger_than_the_shared_directorys_disk_is_refused_and_wiped() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::mount(directory.path(), SERVES);
    let station = Station::with("a").start_configured(|config| {
        share_directory(config, &directory.path().join("runs"));
        config.insert("limits".into(), toml::toml! { spool_min_free_mib = 0 }.into());
    });
    let mut scene = Scene::with(station);
    let small = std::mem::replace(&mut scene.train, Train::of(&[scene.station.seat()]).file("large.bin", 3 << 20).make());
    fill(directory.path(), 1 << 10);
    let before = Before::of(&scene.engine, &scene.train);
    let full = refused("3 MiB on 1 MiB", scene.station.open_into(&scene.train.image, OpenInto::Directory), "DISK_FULL");
    assert_eq!(full.metadata["resource"], "directory");
    before.assert(&scene.station, "3 MiB on 1 MiB");
    assert_eq!(std::fs::read_dir(directory.path().join("runs")).unwrap().count(), 0, "something is left");
    scene.train = small;
    scene.station.open_into(&scene.train.image, OpenInto::Directory).unwrap();
    drop(scene);
    drop(disk);
}

/// A call during which the ledger's disk fills up.
#[track_caller]
fn runs_full<T: Send>(proxied: &Proxied, disk: &Path, call: impl FnOnce() -> Result<T, Refusal> + Send) -> Refusal {
    proxied.proxy.when(LOAD, Way::ToEngine, 1 << 20, Do::Stall);
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(call);
        proxied.proxy.struck();
        fill(disk, 0);
        proxied.proxy.release();
        call.join().unwrap()
    });
    refused("the ledger's disk ran full", answer, "DISK_FULL")
}

#[test]
fn a_full_ledger_disk_refuses_and_works_again_when_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let disk = Disk::mount(at, SERVES);
    let proxied = Proxied::configured(|config| {
        let state = config["state"].as_table_mut().unwrap();
        let before = Path::new(state["directory"].as_str().unwrap()).to_owned();
        for part in ["instance", "ledger.sqlite"] {
            std::fs::copy(before.join(part), at.join(part)).unwrap();
        }
        state.insert("directory".into(), at.to_str().unwrap().into());
        state.insert("spool".into(), before.join("spool").to_str().unwrap().into());
        set(config, "audit", "directory", before.join("audit").to_str().unwrap());
    });
    let scene = &proxied.scene;
    let before = Before::of(&scene.engine, &scene.train);
    fill(at, 0);
    for into in EVERYWHERE {
        let full = refused("pre-run", scene.station.open_into(&scene.train.image, into), "DISK_FULL");
        assert_eq!(full.metadata["resource"], "ledger");
        before.assert(&scene.station, "a pre-run on a full disk");
    }
    empty(at);

    runs_full(&proxied, at, || scene.pre_run());
    proxied.as_it_was(&before);
    empty(at);
    let run = scene.pre_run().unwrap();
    assert!(!run.repeated_answer);
    let ran = run_script(&scene.engine, &scene.train.image, RESULTS);

    let before = Before::of(&scene.engine, &scene.train);
    runs_full(&proxied, at, || scene.station.post_run(&run.run_id));
    proxied.as_it_was(&before);
    assert_eq!(scene.engine.find(&scene.train.image), Some(ran));
    refused("abort", scene.station.abort(&run.run_id), "DISK_FULL");
    proxied.as_it_was(&before);
    empty(at);
    let closed = scene.station.post_run(&run.run_id).unwrap();
    assert!(closed.plaintext_held_by.is_empty() && !closed.repeated_answer, "{closed:?}");
    assert_eq!(scene.train.open(&[]).stops_signed, 1);
    drop(proxied);
    drop(disk);
}

#[test]
fn on_a_full_audit_disk_nothing_is_done_and_all_works_again_when_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let disk = Disk::mount(at, SERVES);
    let station = Station::with("a").start_configured(|config| {
        set(config, "audit", "directory", at.join("audit").to_str().unwrap());
        set(config, "audit", "reserve_mib", 0);
    });
    let scene = Scene::with(station);
    let before = Before::of(&scene.engine, &scene.train);
    fill(at, 0);
    let sign = || scene.station.sign("a-general", stationmaster_proto::SignatureScheme::RsaPssSha256, &[1; 32]);
    // What is left of the last block of the file takes some records.
    let full = wait_for("the disk to be full", || sign().err());
    assert_eq!(full.reason, "AUDIT_UNAVAILABLE");
    refused("pre-run", scene.pre_run(), "AUDIT_UNAVAILABLE");
    refused("sign", sign(), "AUDIT_UNAVAILABLE");
    refused("list", scene.station.keys(), "AUDIT_UNAVAILABLE");
    wait_for("health to say so", || (scene.station.health().ok()? == "NOT_SERVING").then_some(()));
    before.assert(&scene.station, "a pre-run that could not be recorded");
    empty(at);
    wait_for("health to say so", || (scene.station.health().ok()? == "SERVING").then_some(()));
    sign().unwrap();
    scene.pre_run().unwrap();
    drop(scene);
    drop(disk);
}

#[test]
fn a_full_disk_of_the_engine_refuses_and_works_again_when_there_is_space() {
    let disk = |directory: &Path| Some(Disk::mount(&directory.join("disk"), 256 << 10));
    PrivateEngine::with(
        "steps::refusals::disks::a_full_disk_of_the_engine_refuses_and_works_again_when_there_is_space",
        disk,
        |engine| {
            let mut scene = Scene::set();
            scene.train = Train::of(&[scene.station.seat()]).file("large.bin", 8 << 20).make();
            let disk = engine.disk();
            let before = Before::of(&scene.engine, &scene.train);
            fill(&disk, 3 << 10);
            for into in [OpenInto::Image, OpenInto::Volume] {
                let refusal = refused("pre-run", scene.station.open_into(&scene.train.image, into), "DISK_FULL");
                assert!(refusal.message.contains("no space left on device") && !refusal.has_retry_info, "{refusal:?}");
                before.assert(&scene.station, "a pre-run on a full disk");
            }
            empty(&disk);
            let run = scene.pre_run().unwrap();
            run_script(&scene.engine, &scene.train.image, RESULTS);

            let before = Before::of(&scene.engine, &scene.train);
            fill(&disk, 3 << 10);
            refused("post-run", scene.station.post_run(&run.run_id), "DISK_FULL");
            before.assert(&scene.station, "a post-run on a full disk");
            empty(&disk);
            let closed = scene.station.post_run(&run.run_id).unwrap();
            assert!(closed.plaintext_held_by.is_empty(), "{closed:?}");
            assert_eq!(scene.train.open(&[]).stops_signed, 1);
        },
    );
}
