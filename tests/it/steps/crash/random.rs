//! Kills at random times, most of them between the named points: while bytes are on their way.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Doomed, KILLS, Mode, private_names};
use crate::support::{
    Refusal, Station, Train,
    mounts::{Beside, run_opened},
    tamper::{Before, RESULTS, Scene},
};

/// Per mode and step.
const KILLS_EACH: usize = 8;
/// Some MB of results that do not compress.
const BULK: &str = "head -c 8000000 /dev/urandom > /opt/pht_results/bulk";

/// A small generator of our own, so that a seed gives the same delays with every version of every library.
struct Delays(u64);

impl Delays {
    /// Evenly spread over the time that the step takes when it is left alone, and a little more.
    fn next(&mut self, whole: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        whole.mul_f64((self.0 % 1000) as f64 / 1000.0 * 1.05)
    }
}

impl Doomed {
    /// Kills the service so long after a call began. Answers whether the call had been answered by then.
    #[track_caller]
    fn dies_after<T: Send>(&mut self, delay: Duration, call: impl FnOnce(&Station) -> Result<T, Refusal> + Send) -> bool {
        let station = &self.scene.station;
        let answer = thread::scope(|scope| {
            let call = scope.spawn(|| call(station));
            thread::sleep(delay);
            station.signal(rustix::process::Signal::KILL);
            call.join().expect("a call")
        });
        self.is_dead();
        if let Err(refusal) = &answer {
            assert_eq!(refusal.reason, "", "the service answered: {refusal:?}");
        }
        answer.is_ok()
    }

    #[track_caller]
    fn takes_another_train(&mut self) {
        let seats = [self.scene.station.seat()];
        let train = Train::of(&seats).file("large.bin", 6 << 20).make();
        self.sealed = self.scene.engine.find(&train.image).expect("a train");
        // The containers of the one before go with it, the foreign one among them.
        self.foreign = self.scene.engine.hold(&self.sealed, &[("org.stationmaster.instance", "another-instance")]);
        self.scene.train = train;
    }

    /// Kills pre-runs of one train; after each the same call is made again, and the run aborted. Answers how many were answered.
    #[track_caller]
    fn pre_runs_die(&mut self, delays: &mut Delays) -> usize {
        let begun = Instant::now();
        let run = self.open().unwrap();
        let whole = begun.elapsed();
        self.scene.station.abort(&run.run_id).unwrap();
        let before = Before::of(&self.scene.engine, &self.scene.train);
        let (image, into) = (self.scene.train.image.clone(), self.mode.place());
        let mut answered = 0;
        for _ in 0..KILLS_EACH {
            let is_answered = self.dies_after(delays.next(whole), |station| station.open_into(&image, into));
            answered += usize::from(is_answered);
            let named = self.stands_for() != self.sealed;
            assert_eq!(self.is_opened(&self.stands_for()), named, "the name stands for half an image");
            self.starts_again();
            let done = named || !Beside::of(&self.scene.station).is_empty();
            assert!(done || !is_answered, "what was answered is gone");
            if !done {
                self.is_untouched();
            }
            let run = self.open().unwrap();
            assert_eq!(run.repeated_answer, done, "whether what was done is done again");
            self.scene.station.abort(&run.run_id).unwrap();
            before.assert(&self.scene.station, "an abort after a kill");
            self.is_untouched();
        }
        answered
    }

    /// Kills post-runs, each of a train that goes on to its end. Answers how many were answered.
    #[track_caller]
    fn post_runs_die(&mut self, delays: &mut Delays) -> usize {
        let (mut whole, mut answered) = (Duration::ZERO, 0);
        for kill in 0..=KILLS_EACH {
            self.takes_another_train();
            let run = self.open().unwrap();
            run_opened(&self.scene.engine, &run, Some(&format!("{RESULTS}\n{BULK}")), &[]);
            let ran = self.stands_for();
            if kill == 0 {
                let begun = Instant::now();
                self.scene.station.post_run(&run.run_id).unwrap();
                whole = begun.elapsed();
                continue;
            }
            let is_answered = self.dies_after(delays.next(whole), |station| station.post_run(&run.run_id));
            answered += usize::from(is_answered);
            let now = self.stands_for();
            let done = now != ran;
            assert!(done || !is_answered, "what was answered is gone");
            if done {
                assert_eq!(self.scene.train.open(&[]).stops_signed, 1);
            }
            self.starts_again();
            if done {
                self.has_only(&[&self.sealed, &now], &[]);
                self.holds_nothing();
            } else {
                let opened = if self.mode.is_beside() { &self.sealed } else { &run.image_id };
                self.has_only(&[&self.sealed, opened, &ran], &private_names(&run.run_id));
            }
            let closed = self.scene.station.post_run(&run.run_id).unwrap();
            assert_eq!(closed.repeated_answer, done, "whether what was done is done again");
            self.is_completed(&closed);
        }
        answered
    }
}

/// `STATIONMASTER_SOAK_SEED` chooses the delays (default 1).
#[track_caller]
fn kills_at_random(mode: Mode) {
    let seed: u64 = std::env::var("STATIONMASTER_SOAK_SEED").map_or(1, |text| text.parse().expect("a seed"));
    let mut delays = Delays(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut doomed = Doomed::of(Scene::with(mode.start(Station::with("a"))), mode);
    doomed.takes_another_train();
    let answered = doomed.pre_runs_die(&mut delays) + doomed.post_runs_die(&mut delays);
    let kills = KILLS.get();
    println!("kills at random times, {mode:?}: seed {seed}, {kills} kills, {answered} of them after the answer, 0 failures");
    assert!(kills > 2 * answered, "most of {kills} kills came after the answer: {answered}");
}

#[test]
#[ignore = "minutes: `make soak` runs it"]
fn kills_at_random_times_into_an_image() {
    kills_at_random(Mode::Image);
}

#[test]
#[ignore = "minutes: `make soak` runs it"]
fn kills_at_random_times_into_a_whole_image() {
    kills_at_random(Mode::Whole);
}

#[test]
#[ignore = "minutes: `make soak` runs it"]
fn kills_at_random_times_into_volumes() {
    kills_at_random(Mode::Volume);
}

#[test]
#[ignore = "minutes: `make soak` runs it"]
fn kills_at_random_times_into_a_directory() {
    kills_at_random(Mode::Directory);
}
