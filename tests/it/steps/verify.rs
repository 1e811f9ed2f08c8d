//! What anybody can find out about a train without a key, and whether an image may leave a station.

mod archives;
mod attacks;
mod commands;
mod journey;
mod push;

use stationmaster_proto as pb;
use stationmaster_proto::{RuleOutcome, check_push_response, verify_train_request::Part};

use crate::support::{
    Engine, Refusal, Station, block_on,
    tamper::{Rootfs, fetched},
};

/// How long the pieces of an archive are: less than a request may be.
const PIECE: usize = 60 << 10;

impl Station {
    /// `VerifyTrain` of an image.
    pub fn verify(&self, image: &str) -> Result<pb::VerifyTrainResponse, Refusal> {
        self.verify_parts(vec![Part::Image(image.into())])
    }

    /// `VerifyTrain` of an archive.
    pub fn verify_archive(&self, archive: &[u8]) -> Result<pb::VerifyTrainResponse, Refusal> {
        self.verify_parts(archive.chunks(PIECE).map(|piece| Part::Archive(piece.into())).collect())
    }

    /// `VerifyTrain`, message by message.
    pub fn verify_parts(&self, parts: Vec<Part>) -> Result<pb::VerifyTrainResponse, Refusal> {
        let messages = tokio_stream::iter(parts.into_iter().map(|part| pb::VerifyTrainRequest { part: Some(part) }));
        Ok(block_on(self.trains_client().verify_train(messages))?.into_inner())
    }

    /// `CheckPush`, to its result.
    pub fn check_push(&self, image: &str) -> Result<pb::CheckPushResult, Refusal> {
        block_on(async {
            let mut stream = self.trains_client().check_push(pb::CheckPushRequest { image: image.into() }).await?.into_inner();
            let mut result = None;
            while let Some(message) = stream.message().await? {
                if let Some(check_push_response::Event::Result(last)) = message.event {
                    result = Some(last);
                }
            }
            Ok(result.expect("a result"))
        })
    }
}

/// The rules of an outcome, by name.
fn rules_that(rules: &[pb::RuleReport], outcome: RuleOutcome) -> Vec<&str> {
    rules.iter().filter(|rule| rule.outcome() == outcome).map(|rule| rule.rule.as_str()).collect()
}

/// The rules that are broken.
fn broken(rules: &[pb::RuleReport]) -> Vec<&str> {
    rules_that(rules, RuleOutcome::Broken)
}

/// What the note of a rule says.
#[track_caller]
fn note<'a>(rules: &'a [pb::RuleReport], rule: &str) -> &'a str {
    &rules.iter().find(|one| one.rule == rule).unwrap_or_else(|| panic!("no word of {rule}")).note
}

/// What central's extractor delivers of an image: two paths, fetched one by one, packed into one archive.
pub fn delivered(engine: &Engine, image: &str) -> Rootfs {
    let read = |path| Rootfs::read(&fetched(engine, image, path));
    read("/opt/pht_results").then(read("/opt/train_config.json"))
}
