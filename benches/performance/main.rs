//! `make bench`: what stationmaster costs, beside train_lib, the engine itself and the bare token, in the same run.
//!
//! Everything is real, as in the tests (whose support it uses): a built service, SoftHSM, a Docker engine, train_lib from PyPI.
//! Who is measured takes turns within a round, on the same images; figures are medians over rounds, with least and greatest.
//! Results go to `docs/performance.json`, part by part, and from there to `docs/performance.md` and its plot.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    reason = "measurements end where something is wrong"
)]

mod bare;
mod engine;
mod flat;
mod images;
mod keys;
mod large;
mod machine;
mod modes;
mod options;
mod payload;
mod process;
mod quiet;
mod record;
mod report;
mod sealed;
mod second;
mod served;
mod speeds;
mod statistics;
mod steps;
#[allow(dead_code, unused_imports, reason = "made for the tests; a part of it is needed here")]
#[path = "../../tests/it/support/mod.rs"]
mod support;
mod trains;

use clap::Parser;

use crate::{
    options::{Options, Part},
    record::Record,
};

fn main() {
    let options = Options::parse();
    if options.bare {
        return bare::answer();
    }
    let mut record = if options.short { Record::default() } else { Record::load() };
    if !options.report {
        measure(&options, &mut record);
    }
    if options.short {
        println!("{}", report::text(&record));
    } else {
        record.take_pure(report::pure::measured());
        report::write(&record);
    }
}

/// Measures the parts that were asked for. Each is kept as soon as it is whole.
fn measure(options: &Options, record: &mut Record) {
    let mut keep = |part: Part, change: &dyn Fn(&mut Record)| {
        change(record);
        record.parts.insert(part, machine::now());
        if !options.short {
            record.save();
        }
    };
    if options.wants(Part::Keys) {
        let keys = keys::measure(options);
        keep(Part::Keys, &|record| record.keys.clone_from(&keys));
    }
    if options.wants(Part::Trains) || options.wants(Part::Images) {
        trains::measure(options, &mut |part, cases| keep(part, &|record| record.put(part, cases)));
    }
    if options.wants(Part::Flat) {
        let cases = flat::measure(options);
        keep(Part::Flat, &|record| record.put(Part::Flat, &cases));
    }
    if options.wants(Part::Large) {
        let case = large::measure(options);
        keep(Part::Large, &|record| record.put(Part::Large, std::slice::from_ref(&case)));
    }
}
