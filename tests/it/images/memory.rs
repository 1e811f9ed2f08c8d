//! What is kept of images while they are read is bounded, for all calls together, and is given back.

use std::{collections::BTreeMap, slice::from_ref, thread};

use crate::support::{Seat, Station, Train, set, skopeo_layouts::Yard, tamper::refused, wait_for};

/// More than may lie in `/opt`.
const TOO_MANY: usize = 250_001;

/// A layer of so many empty files in `/opt`, each of a long name.
fn names(count: usize) -> Vec<u8> {
    let mut layer = Vec::with_capacity((count + 2) * 512);
    for number in 0..count {
        let mut header = tar::Header::new_ustar();
        let name = format!("opt/pht_train/{number:0>86}");
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        layer.extend_from_slice(header.as_bytes());
    }
    layer.resize(layer.len() + 1024, 0);
    layer
}

/// A train in a layout, beside one that was given a layer of so many names.
fn yard(station: &Seat, count: usize) -> (Yard, Train, Train) {
    let (yard, good, bad) = (Yard::new(), Train::of(from_ref(station)).make(), Train::of(from_ref(station)).make());
    yard.take(&good);
    yard.take(&bad);
    yard.commit(&bad, names(count), false);
    (yard, good, bad)
}

#[test]
fn hostile_names_are_refused_while_they_are_counted_and_their_memory_is_given_back() {
    let seat = Station::start("a").seat();
    let (yard, good, bad) = yard(&seat, TOO_MANY);
    let station = Station::with("a").layouts(yard.path()).start();
    station.inspect(&good.image).unwrap();
    let idle = station.memory_kib("VmRSS");
    let inspect = || refused("too many names", station.inspect(&bad.image), "LIMIT_EXCEEDED");
    let verify = || refused("too many names", station.verify(&bad.image), "LIMIT_EXCEEDED");
    thread::scope(|scope| {
        scope.spawn(inspect);
        scope.spawn(verify);
        // Beside them an ordinary train is read.
        station.inspect(&good.image).expect("an ordinary train");
    });
    let above = station.memory_kib("VmHWM") - idle;
    assert!(above < 256 * 1024, "{above} KiB above the idle level");
    let left = wait_for("the memory to come back", || {
        let left = station.memory_kib("VmRSS").saturating_sub(idle);
        (left < 48 * 1024).then_some(left)
    });
    eprintln!("{TOO_MANY} names, two at once: idle {idle} KiB, {above} above it at most, {left} left");
}

#[test]
fn the_budget_is_one_for_all_calls_and_an_ordinary_train_has_its_own() {
    let mut station = Station::start("a");
    let (yard, good, bad) = yard(&station.seat(), 100_000);
    station.stop();
    station.configure(|config| {
        set(config, "limits", "image_memory_mib", 16);
        // The three calls leave a place for a fourth of the same principal.
        set(config, "limits", "runs", 8);
        set(config, "layouts", "directory", yard.path().to_str().unwrap());
        config.remove("engine");
    });
    station.start_again();
    let taken = thread::scope(|scope| {
        let calls: Vec<_> =
            (0..3).map(|_| scope.spawn(|| station.inspect(&bad.image).expect_err("more than the budget"))).collect();
        for _ in 0..3 {
            station.inspect(&good.image).expect("an ordinary train, whatever the others have taken");
        }
        calls.into_iter().map(|call| call.join().expect("no panic")).collect::<Vec<_>>()
    });
    let mut reasons = BTreeMap::new();
    for refusal in taken {
        assert_eq!(refusal.has_retry_info, refusal.reason == "OVERLOADED", "{refusal:?}");
        *reasons.entry(refusal.reason).or_insert(0) += 1;
    }
    // Which of the two depends on who is first.
    assert!(reasons.keys().all(|reason| ["LIMIT_EXCEEDED", "OVERLOADED"].contains(&reason.as_str())), "{reasons:?}");
}
