//! Every parser of foreign bytes, over its seeds, over what the fuzzer has found, and over changes of both: without a fuzzer, so that
//! what was found once stays found on every machine. `fuzz/` has the parsers' promises.

use std::{fs, path::Path};

use crate::parsers::{TARGETS, random::Random};

/// Changes of each input that can be changed by its shape. This is the fuzzer's short form: `make fuzz` is led by what the code does.
const CHANGES: usize = 400;
/// Bytes of each input that are changed, one at a time.
const BYTES: usize = 80;

#[test]
fn seeds_and_findings_break_no_promise() {
    let mut inputs = 0;
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(seeds.len() >= 5, "{} has too few seeds", target.name);
        let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(target.name);
        let found = fs::read_dir(found).into_iter().flatten().map(|file| fs::read(file.unwrap().path()).unwrap());
        let mut random = Random::new(1);
        for input in seeds.into_iter().chain(found) {
            assert!(input.len() <= target.longest, "{}: an input of {} bytes", target.name, input.len());
            (target.run)(&input);
            inputs += 1;
            for _ in 0..BYTES.min(input.len()).div_ceil(target.cost) {
                let mut changed = input.clone();
                changed[random.below(input.len())] = random.next() as u8;
                (target.mend)(&mut changed);
                (target.run)(&changed);
                inputs += 1;
            }
            let Some(shape) = target.shape else { continue };
            for _ in 0..CHANGES.div_ceil(target.cost) {
                let mut changed = input.clone();
                shape(&mut changed, &mut random, target.longest);
                (target.run)(&changed);
                inputs += 1;
            }
        }
    }
    crate::steps::run_totals::note(
        "foreign-bytes",
        &format!("foreign bytes: {inputs} inputs replayed through {} parsers; failures 0", TARGETS.len()),
    );
}

#[test]
fn some_seeds_of_saved_images_are_read_to_their_end() {
    let seeds = crate::parsers::seeds::saved_images();
    let read = seeds
        .iter()
        .filter(|seed| stationmaster_image::filesystem::tree_digest::tree_digest(&seed[..], None, |_| {}).is_ok())
        .count();
    assert!(read >= 8 && read <= seeds.len() - 8, "{read} of {} have a digest", seeds.len());
}

#[test]
fn every_finding_belongs_to_a_parser() {
    for folder in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/regressions")).unwrap() {
        let name = folder.unwrap().file_name().into_string().unwrap();
        // These two are reached by the fuzzer alone, which runs their findings first.
        let known = TARGETS.iter().any(|target| target.name == name) || ["pass_on", "oaep"].contains(&name.as_str());
        assert!(known, "{name} is no parser: its findings are never run");
    }
}
