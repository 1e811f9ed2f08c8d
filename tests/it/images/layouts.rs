//! Stations without an engine: trains are OCI layouts, opened and sealed there. skopeo carries them on, also to an engine and to train_lib.

use std::fs;

use stationmaster_proto::OpenInto;

use crate::support::{
    LibStation, Mode, Peer, Seat, Station, Train,
    mounts::{Beside, files_in},
    skopeo_layouts::Yard,
    tamper::holds,
};

mod planted;
mod refused;
mod served;

/// A station without an engine.
fn station(id: &str, yard: &Yard) -> Station {
    Station::with(id).layouts(yard.path()).start_pinned()
}

/// Opens a train, has it run, closes it; nothing but the sealed train and its base is left.
#[track_caller]
fn stop(station: &Station, yard: &Yard, train: &Train, stop: usize, into: OpenInto, gzip: bool) {
    let run = station.open_into(&train.image, into).unwrap();
    assert_eq!((run.stop_index as usize, run.image_id.contains("@sha256:")), (stop, true));
    let left = train.expected_results(stop + 1);
    match into {
        OpenInto::Directory => {
            let [_, code] = files_in(&run);
            assert!(train.code().iter().all(|(path, plain)| code.get(path) == Some(plain)), "the code is not opened");
            let Some(stationmaster_proto::mount::Source::Directory(results)) = &run.mounts[0].source else { panic!("{run:?}") };
            for (path, content) in &left {
                let file = std::path::Path::new(results).join(path);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, content).unwrap();
            }
        }
        _ => yard.run(train, &left, gzip),
    }
    let closed = station.post_run(&run.run_id).unwrap();
    assert!(closed.plaintext_held_by.is_empty(), "{closed:?}");
    assert!(Beside::of(station).directories.is_empty());
    holds_no_plaintext(yard, train);
    let tags = yard.tags(train);
    assert_eq!(tags.keys().map(String::as_str).collect::<Vec<_>>(), ["base", "latest"], "images are left");
    assert_eq!(format!("{}@{}", train.repository, tags["latest"]), closed.image_id);
}

/// Of a layout's blobs, compressed or not.
#[track_caller]
pub fn holds_no_plaintext(yard: &Yard, train: &Train) {
    let blobs = yard.layout(train).join("blobs/sha256");
    for blob in yard.blobs(train) {
        let mut bytes = fs::read(blobs.join(&blob)).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut plain).unwrap();
            bytes = plain;
        }
        for canary in train.canaries() {
            assert!(!holds(&bytes, canary), "plaintext in {blob}: {}", String::from_utf8_lossy(canary));
        }
    }
}

#[test]
fn a_route_of_three_stops_passes_without_an_engine() {
    let yard = Yard::new();
    let stations = ["a", "b", "c"].map(|id| station(id, &yard));
    let train = Train::of(&stations.each_ref().map(Station::seat)).make();
    yard.take(&train);
    let before = yard.blobs(&train);
    stations.iter().for_each(|station| station.trust_train(&train));
    let ways = [(OpenInto::Image, false), (OpenInto::Directory, false), (OpenInto::Image, true)];
    let mut hashes = Vec::new();
    for (at, (station, (into, gzip))) in stations.iter().zip(ways).enumerate() {
        stop(station, &yard, &train, at, into, gzip);
        yard.give(&train);
        let opened = train.open(&hashes);
        assert_eq!((opened.stops_signed as usize, opened.files), (at + 1, train.expected_results(at + 1)));
        assert_eq!((opened.code, opened.query), (train.code(), train.query.clone()));
        hashes.push(opened.result_hash);
    }
    // The one that came is gone with its name, what the base shares with it is not: three files came for its manifest, configuration and layer.
    let added = yard.blobs(&train).difference(&before).count();
    assert_eq!(added, 3, "what is left besides what came");
}

#[test]
fn a_route_goes_from_layouts_to_train_lib_in_the_engine_and_back() {
    let (yard, back, directory) = (Yard::new(), Yard::new(), tempfile::tempdir().unwrap());
    let lib: LibStation = Peer::newest().station("lib", 2048, directory.path());
    let (first, last) = (station("first", &yard), station("last", &back));
    let seats = [first.seat(), Seat { id: lib.id.clone(), hex_pem: lib.hex_pem.clone() }, last.seat()];
    let train = Train::of(&seats).make();
    yard.take(&train);
    first.trust_train(&train);
    last.trust_train(&train);

    stop(&first, &yard, &train, 0, OpenInto::Image, false);
    yard.give(&train);
    let hash = train.open(&[]).result_hash;
    lib.pre_run(&train.image).unwrap();
    Peer::newest().run_train(&train.image, Mode::Commit, &[]);
    lib.post_run(&train.image).unwrap();
    let opened = train.open(std::slice::from_ref(&hash));
    assert_eq!((opened.stops_signed, opened.files), (2, train.expected_results(2)));
    back.take(&train);
    stop(&last, &back, &train, 2, OpenInto::Image, true);
    back.give(&train);
    let opened = train.open(&[hash, opened.result_hash]);
    assert_eq!((opened.stops_signed, opened.files), (3, train.expected_results(3)));
}
