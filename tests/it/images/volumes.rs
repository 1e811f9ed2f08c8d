//! Volumes that an image asks for are neither made nor filled where the image is only read.

use bollard::query_parameters::InspectContainerOptions;

use crate::support::{
    block_on,
    proxied::Proxied,
    proxy::{Do, READ, Way},
    tamper::{commit_with, docker, instance, refused},
};

#[test]
fn nothing_is_copied_into_the_volumes_of_an_image_that_is_only_read() {
    let proxied = Proxied::start();
    let scene = &proxied.scene;
    let (engine, repository) = (&scene.engine, &scene.train.repository);
    let with = |what: &str| {
        commit_with(engine, &scene.train.image, what, repository, "volumes");
        format!("{repository}:volumes")
    };
    // One of them lies over the train: what the image has there is shown nevertheless.
    let image = with("VOLUME /data /opt/pht_train /usr/./share/");
    let told = std::thread::scope(|scope| {
        // The engine does not tell of a container while it is read: the request stands still before it gets there.
        proxied.proxy.when(READ, Way::ToEngine, 0, Do::Stall);
        let call = scope.spawn(|| scene.station.inspect(&image));
        proxied.proxy.struck();
        let containers = engine.service_containers(Some(&instance(&scene.station)));
        assert_eq!(containers.len(), 1, "the container that is read");
        for id in containers.keys() {
            let container = block_on(docker().inspect_container(id, None::<InspectContainerOptions>)).expect("a container");
            let mounts = container.mounts.unwrap_or_default();
            assert_eq!(mounts.len(), 3, "{mounts:?}");
            assert!(mounts.iter().all(|mount| mount.typ.as_deref() == Some("tmpfs")), "{mounts:?}");
        }
        proxied.proxy.release();
        call.join().expect("no panic")
    });
    let told = told.expect("it is a train");
    assert!(told.missing.is_empty() && !told.listed.is_empty(), "{told:?}");
    // Nothing can be mounted there, and engines would fill it.
    let image = with("VOLUME relative");
    let refusal = refused("a volume at no absolute path", scene.station.inspect(&image), "ARCHIVE_MALFORMED");
    assert!(refusal.message.contains("VOLUME"), "{refusal:?}");
}
