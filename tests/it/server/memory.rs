//! Memory is constant, whatever a train carries.

use sha2::{Digest, Sha512};

use crate::support::{Mode, Peer, Station, Train};

const MIB: u64 = 1 << 20;
/// The promise: no more than this above the idle level.
const BOUND_KIB: u64 = 64 * 1024;

/// Highest memory above the idle level, in KiB.
#[derive(Clone, Copy, Debug)]
struct Peak {
    /// Of the station that closes the run that made the results.
    first: u64,
    /// Of the station that opens them and closes them again.
    second: u64,
}

/// Takes a train with so much code and so large results past two stations.
#[track_caller]
fn peak(results_mib: u64, code_mib: u64) -> Peak {
    let stations = [Station::start("a"), Station::start("b")];
    let idle = stations.each_ref().map(|station| station.memory_kib("VmRSS"));
    let seats = stations.each_ref().map(Station::seat);
    let train = Train::of(&seats).file("bulk/code.bin", code_mib * MIB).make();
    let bulk = format!("BULK_MIB={results_mib}");
    let mut digests = Vec::new();
    for (index, station) in stations.iter().enumerate() {
        let run = station.pre_run(&train.image).unwrap();
        // What the first run made is still there after the second.
        let environment = if index == 0 { &[bulk.as_str()][..] } else { &[] };
        Peer::newest().run_train(&train.image, Mode::Commit, environment);
        digests.push((run.results_digest, station.post_run(&run.run_id).unwrap().results_digest));
        assert!(station.verify(&train.image).unwrap().holds && station.check_push(&train.image).unwrap().ok);
    }
    // The second station has verified what the first has sealed: all of it went through both.
    assert_eq!(digests[1].0, digests[0].1);
    if results_mib < 256 {
        let opened = train.try_open(&[], true).unwrap();
        assert_eq!(opened.files["bulk.bin"], Sha512::digest(vec![0; (results_mib * MIB) as usize])[..]);
        assert_eq!(opened.stops_signed, 2);
    }
    let above = |index: usize| stations[index].memory_kib("VmHWM").saturating_sub(idle[index]);
    let peak = Peak { first: above(0), second: above(1) };
    eprintln!("{results_mib} MiB of results, {code_mib} MiB of code: idle {idle:?} KiB, above it {peak:?}");
    peak
}

#[track_caller]
fn stays_flat(results_mib: u64, code_mib: u64) {
    let (small, large) = (peak(1, 1), peak(results_mib, code_mib));
    for (small, large) in [(small.first, large.first), (small.second, large.second)] {
        assert!(large <= BOUND_KIB, "{large} KiB above the idle level");
        // Less than any file of the large train, whole, would take.
        assert!(large.saturating_sub(small) < 16 * 1024, "{large} KiB where a small train takes {small}");
    }
}

#[test]
fn memory_does_not_grow_with_the_train() {
    stays_flat(64, 32);
}

/// The figures of the promise: 1 GiB of results and 256 MiB of code.
#[test]
#[ignore = "two minutes and ten gigabytes of disk traffic: `make soak` runs it"]
fn memory_does_not_grow_with_a_gigabyte_of_results() {
    stays_flat(1024, 256);
}
