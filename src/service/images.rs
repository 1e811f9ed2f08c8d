//! `ImageService`: reads images without changing them.

use stationmaster_image::checks::master::Difference;
use stationmaster_proto as pb;
use stationmaster_proto::{hash_image_response::Event, validate_image_response};
use tonic::Request;

use super::{
    status::{Answer, AnswerStream},
    steps::Steps,
    trains::outcome,
};
use crate::{
    protocol,
    protocol::{ImageDigests, ImageVerdict, TrainAbsent},
};

/// Implementation of `ImageService`.
#[derive(Clone)]
pub struct Images {
    steps: Steps,
}

impl Images {
    /// Makes the service from the station's steps.
    #[must_use]
    pub fn new(steps: Steps) -> Self {
        Self { steps }
    }
}

#[tonic::async_trait]
impl pb::image_service_server::ImageService for Images {
    type HashImageStream = AnswerStream<pb::HashImageResponse>;
    type ValidateImageStream = AnswerStream<pb::ValidateImageResponse>;

    async fn hash_image(&self, request: Request<pb::HashImageRequest>) -> Answer<Self::HashImageStream> {
        let (_, extensions, request) = request.into_parts();
        let message = |event| pb::HashImageResponse { event: Some(event) };
        let (train_only, progress) = (request.train_only, move |progress| message(Event::Progress(progress)));
        let answer = self.steps.stream_on_image(&extensions, &request.image, progress, move |station, image, step| {
            Ok(message(Event::Result(result_message(protocol::hash_image(station, image, train_only, step)?))))
        });
        answer.await
    }

    async fn validate_image(&self, request: Request<pb::ValidateImageRequest>) -> Answer<Self::ValidateImageStream> {
        let (_, extensions, request) = request.into_parts();
        let pb::ValidateImageRequest { image, master, as_train_lib } = request;
        let message = |event| pb::ValidateImageResponse { event: Some(event) };
        let progress = move |progress| message(validate_image_response::Event::Progress(progress));
        let answer = self.steps.stream_on_image(&extensions, &image, progress, move |station, image, step| {
            let master = Some(master.as_str()).filter(|master| !master.is_empty());
            let verdict = protocol::validate_image(station, image, master, as_train_lib, step)?;
            Ok(message(validate_image_response::Event::Result(verdict_message(verdict))))
        });
        answer.await
    }
}

/// Converts the verdict of a validation.
#[must_use]
pub fn verdict_message(verdict: ImageVerdict) -> pb::ValidateImageResult {
    let rule = |(rule, became, note): &(stationmaster_image::checks::master::ImageRule, _, String)| pb::RuleReport {
        rule: rule.name().to_owned(),
        outcome: outcome(*became).into(),
        note: note.clone(),
    };
    // An image has a few hundred layers at most.
    pb::ValidateImageResult {
        holds: verdict.holds(),
        rules: verdict.rules.iter().map(rule).collect(),
        difference_count: verdict.differences.count(),
        image_id: verdict.image_id.map(|id| id.to_string()).unwrap_or_default(),
        master: verdict.master,
        master_id: verdict.master_id.map(|id| id.to_string()).unwrap_or_default(),
        layers: verdict.layers as u32,
        shared_layers: verdict.shared as u32,
        master_layers: verdict.master_layers as u32,
        differences: verdict.differences.kept.into_iter().map(difference_message).collect(),
        train_lib: verdict.train_lib.map_or("", |verdict| verdict.name()).to_owned(),
    }
}

fn difference_message(difference: Difference) -> pb::ImageDifference {
    pb::ImageDifference {
        rule: difference.rule.name().to_owned(),
        what: difference.what.to_owned(),
        place: String::from_utf8_lossy(&difference.place).chars().flat_map(char::escape_debug).collect(),
        expected: difference.expected,
        found: difference.found,
    }
}

fn result_message(digests: ImageDigests) -> pb::HashImageResult {
    let absent = match &digests.train {
        Ok(_) => "",
        Err(TrainAbsent::NotATrain) => "not-a-train",
        Err(TrainAbsent::NotOnRoute) => "not-on-route",
        Err(TrainAbsent::NotOurTurn) => "not-our-turn",
        Err(TrainAbsent::NoKey) => "no-key",
    };
    pb::HashImageResult {
        image_id: digests.image_id.to_string(),
        tree_digest: digests.tree.map(|tree| tree.digest.as_bytes().to_vec()).unwrap_or_default(),
        tree_entries: digests.tree.map_or(0, |tree| tree.entries),
        tree_bytes: digests.tree.map_or(0, |tree| tree.bytes),
        train: digests.train.ok().map(|train| pb::TrainDigests {
            immutable_digest: train.immutable.as_bytes().to_vec(),
            results_digest: train.results.as_bytes().to_vec(),
            immutable_matches: train.immutable_matches,
            sealed: train.sealed,
        }),
        train_absent: absent.to_owned(),
    }
}
