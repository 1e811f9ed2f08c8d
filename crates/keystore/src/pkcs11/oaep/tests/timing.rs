//! Measures that the time of unpadding does not tell one kind of block from another (dudect: Reparaz, Balasch, Verbauwhede 2017).
//!
//! Blocks of two kinds are unpadded in random order, and Welch's t-test compares the times: of all samples, and without the slowest
//! of them, whose cause is the machine. |t| grows with the number of samples if the times differ, and otherwise stays below 4.5.

use std::{hint::black_box, time::Instant};

use super::*;

/// The kinds of [`block`] that are compared: what a refusal must not tell, and the length of an accepted message.
const PAIRS: [(&str, usize, usize); 5] = [
    ("first octet, label", 2, 3),
    ("first octet, no separator", 2, 5),
    ("label, wrong separator", 3, 4),
    ("octet before the separator, no separator", 7, 5),
    ("a message of any length, the longest or none", 0, 1),
];

/// Unpads as it is easily written: returns at the first defect.
fn leaky(block: Zeroizing<Vec<u8>>, _: OaepScheme) -> Result<Zeroizing<Vec<u8>>, BadPadding> {
    if block[0] != 0 {
        return Err(BadPadding);
    }
    let (mut seed, mut db) = (Zeroizing::new(block[1..65].to_vec()), Zeroizing::new(block[65..].to_vec()));
    xor_mgf1::<Sha512>(&mut seed, &db);
    xor_mgf1::<Sha512>(&mut db, &seed);
    if db[..64] != Sha512::digest(b"")[..] {
        return Err(BadPadding);
    }
    let start = db[64..].iter().position(|&byte| byte != 0).ok_or(BadPadding)?;
    if db[64 + start] == 1 { Ok(Zeroizing::new(db[65 + start..].to_vec())) } else { Err(BadPadding) }
}

type Unpad = fn(Zeroizing<Vec<u8>>, OaepScheme) -> Result<Zeroizing<Vec<u8>>, BadPadding>;

/// Unpads `samples` blocks of two kinds, and returns the largest |t|.
fn largest_t(unpad: Unpad, (one, other): (usize, usize), samples: usize) -> f64 {
    // Different blocks of each kind, so that the values of one block do not matter.
    let blocks = [one, other].map(|kind| (0..64).map(|_| block::<Sha512>(kind)).collect::<Vec<_>>());
    let mut choices = vec![0; samples];
    rand_bytes(&mut choices).unwrap();
    let mut times = [Vec::new(), Vec::new()];
    for (at, choice) in choices.into_iter().enumerate() {
        let kind = usize::from(choice & 1);
        let block = black_box(Zeroizing::new(blocks[kind][at % 64].clone()));
        let start = Instant::now();
        let opened = black_box(unpad(block, OaepScheme::Sha512));
        times[kind].push(start.elapsed().as_nanos() as f64);
        drop(opened);
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    // Thresholds as dudect has them: dense where the slow samples begin.
    let thresholds = (1..=100).map(|step| all[((all.len() - 1) as f64 * (1.0 - 0.5_f64.powf(f64::from(step) / 10.0))) as usize]);
    thresholds.chain([f64::INFINITY]).map(|threshold| t(&times, threshold).abs()).fold(0.0, f64::max)
}

/// Welch's t of the samples below a threshold; 0 when there are too few of them.
fn t(times: &[Vec<f64>; 2], threshold: f64) -> f64 {
    let [one, other] = times.each_ref().map(|times| {
        let below = || times.iter().filter(|&&time| time < threshold);
        let count = below().count() as f64;
        let mean = below().sum::<f64>() / count;
        (count, mean, below().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0))
    });
    if one.0 < 1_000.0 || other.0 < 1_000.0 {
        return 0.0;
    }
    let error = (one.2 / one.0 + other.2 / other.0).sqrt();
    if error > 0.0 { (one.1 - other.1) / error } else { 0.0 }
}

/// Checks that |t| stays below a limit for every pair. A pair is measured three times before it counts as different.
fn is_constant(samples: usize, limit: f64) {
    for (name, one, other) in PAIRS {
        let measured: Vec<f64> = (0..3)
            .map(|_| largest_t(unpad, (one, other), samples))
            .scan(false, |done, t| (!std::mem::replace(done, t < limit)).then_some(t))
            .collect();
        println!("{name}: |t| = {measured:.1?} with {samples} samples");
        assert!(measured.last().is_some_and(|t| *t < limit), "{name}: {measured:?}");
    }
}

/// Checks that the measurement sees a difference where there is one.
fn is_seen(kinds: (usize, usize), samples: usize, limit: f64) {
    let t = largest_t(leaky, kinds, samples);
    println!("a return at the first defect: |t| = {t:.1} with {samples} samples");
    assert!(t > limit, "the measurement does not see what it is for: {t}");
}

/// The limit is far above what noise makes, and far below what a return at the first defect makes.
const GROSS: f64 = 50.0;

#[test]
fn unpadding_that_returns_early_is_told_from_unpadding_that_does_not() {
    is_seen((2, 3), 5_000, GROSS);
    is_constant(10_000, GROSS);
}

#[test]
#[ignore = "minutes; `make soak` runs it"]
fn a_million_blocks_of_each_pair_do_not_differ_in_time() {
    // The smallest difference: whether some 130 bytes are searched for the separator.
    is_seen((3, 5), 1_000_000, 4.5);
    is_constant(1_000_000, 4.5);
}
