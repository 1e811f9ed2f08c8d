//! A sealed train at the second stop of its route, from which each way begins each round.

use std::collections::BTreeSet;

use crate::{
    engine::Engine,
    payload::Payload,
    support::{self, Seat, Station, Train},
};

/// The name that holds the sealed image while others are tried.
const KEPT: &str = "sealed";

/// A train that the first stop has closed. All that came of it goes when this is dropped.
pub struct Sealed {
    /// The train.
    pub train: Train,
    id: String,
    /// Images that stay between rounds.
    stay: BTreeSet<String>,
    engine: Engine,
    bystander: support::Engine,
}

impl Sealed {
    /// Makes a train for these stops, has the first open and close it, and puts the results in between.
    pub fn make(payload: Payload, first: &Station, others: &[Seat]) -> Self {
        let bystander = support::Engine::connect();
        let seats: Vec<Seat> = std::iter::once(first.seat()).chain(others.iter().cloned()).collect();
        let train = Train::of(&seats).make();
        let engine = Engine::connect();
        let run = first.pre_run(&train.image).expect("the first pre-run");
        engine.place(&train.image, &train.repository, payload);
        let closed = first.post_run(&run.run_id).expect("the first post-run");
        bystander.tag(&closed.image_id, &train.repository, KEPT);
        let mut sealed = Self { train, id: closed.image_id, stay: BTreeSet::new(), engine, bystander };
        // The name is taken from what the run left, too.
        let base = sealed.bystander.find(&sealed.train.base).expect("the base");
        sealed.stay = [sealed.id.clone(), base].into();
        sealed.restore();
        sealed
    }

    /// Puts everything back: the train's name on the sealed image, and whatever else came of the train removed.
    pub fn restore(&self) {
        let repository = &self.train.repository;
        for container in self.bystander.snapshot(repository).containers.into_keys() {
            self.engine.remove_container(&container);
        }
        self.bystander.tag(&self.id, repository, "latest");
        let ids = self.bystander.image_ids(repository);
        self.engine.remove_images(&ids - &self.stay);
        // What one left to be written is not to slow the next.
        rustix::fs::sync();
    }

    /// The image as its name says now.
    pub fn image(&self) -> &str {
        &self.train.image
    }
}
